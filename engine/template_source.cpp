// SPDX-License-Identifier: MIT
#include <cctype>
#include <utility>

#include <fmt/format.h>

#include "engine/task_source.h"

namespace allot {

std::vector<CommandTemplate::Piece> CommandTemplate::split(const std::string& word, std::size_t arguments_per_task) {
  std::vector<Piece> pieces(1);
  std::size_t at = 0;
  const auto take = [&](std::size_t length, Piece::Then then, std::size_t argument = 0) {
    pieces.back().then = then;
    pieces.back().argument = argument;
    pieces.emplace_back();
    at += length;
  };
  while (at < word.size()) {
    if (word.compare(at, 3, "{#}") == 0) {
      take(3, Piece::Then::step);
    } else if (arguments_per_task > 0 && word.compare(at, 2, "{}") == 0) {
      take(2, Piece::Then::all_arguments);
    } else {
      // Where there is only one argument, {1} inside of a word is text: it is common in regular expressions.
      const bool is_alone = at == 0 && word.find('}') + 1 == word.size();
      std::size_t number = 0;
      std::size_t digits = at + 1;
      while ((arguments_per_task > 1 || (arguments_per_task == 1 && is_alone)) && word[at] == '{' &&
             digits < word.size() && digits < at + 5 && std::isdigit(static_cast<unsigned char>(word[digits]))) {
        number = 10 * number + static_cast<std::size_t>(word[digits++] - '0');
      }
      const bool is_number = digits > at + 1 && digits < word.size() && word[digits] == '}';
      if (is_number && number >= 1 && number <= arguments_per_task) {
        take(digits + 1 - at, Piece::Then::one_argument, number - 1);
      } else if (is_number) {
        fault_ = word.substr(at, digits + 1 - at);
        return pieces;
      } else {
        pieces.back().text += word[at++];
      }
    }
  }
  return pieces;
}

CommandTemplate::CommandTemplate(const std::vector<std::string>& words, std::size_t arguments_per_task) {
  bool uses_arguments = false;
  for (const auto& word : words) {
    words_.push_back(split(word, arguments_per_task));
    for (const auto& piece : words_.back()) {
      uses_step_ = uses_step_ || piece.then == Piece::Then::step;
      uses_arguments =
          uses_arguments || piece.then == Piece::Then::all_arguments || piece.then == Piece::Then::one_argument;
    }
  }
  if (uses_arguments) return;
  for (std::size_t i = 0; i < arguments_per_task; ++i) {
    words_.push_back({{std::string(), Piece::Then::one_argument, i}, {}});
  }
}

void CommandTemplate::fill(const std::vector<std::string_view>& arguments, std::uint64_t step,
                           std::vector<std::string>& argv) const {
  argv.resize(words_.size());
  for (std::size_t i = 0; i < words_.size(); ++i) {
    std::string& word = argv[i];
    word.clear();
    for (const auto& piece : words_[i]) {
      word += piece.text;
      switch (piece.then) {
        case Piece::Then::nothing:
          break;
        case Piece::Then::step:
          word += std::to_string(step);
          break;
        case Piece::Then::one_argument:
          word += arguments[piece.argument];
          break;
        case Piece::Then::all_arguments:
          for (std::size_t k = 0; k < arguments.size(); ++k) {
            if (k > 0) word += ' ';
            word += arguments[k];
          }
          break;
      }
    }
  }
}

namespace {

Result<void> check_arguments(const CommandTemplate& command, std::size_t arguments_per_task) {
  if (command.fault().empty()) return {};
  const std::string known =
      arguments_per_task == 1 ? "{1} is the only one" : fmt::format("there are {{1}} to {{{}}}", arguments_per_task);
  return fail(ErrorCode::fix_request, fmt::format("{} in the command names no argument: {}", command.fault(), known));
}

class ProductSource final : public TaskSource {
 public:
  ProductSource(const std::vector<std::string>& words, std::vector<std::vector<std::string>> lists)
      : template_(words, lists.size()), lists_(std::move(lists)) {}

  Result<void> check() override { return check_arguments(template_, lists_.size()); }

  Result<void> deliver(TaskCollector& to) override {
    for (const auto& list : lists_) {
      if (list.empty()) return {};
    }
    TaskSpec task;
    std::vector<std::size_t> at(lists_.size(), 0);
    std::vector<std::string_view> arguments(lists_.size());
    for (;;) {
      for (std::size_t i = 0; i < lists_.size(); ++i) arguments[i] = lists_[i][at[i]];
      template_.fill(arguments, to.size(), task.argv);
      if (auto added = to.add(task); !added) return added;
      std::size_t digit = lists_.size();
      while (digit > 0 && ++at[digit - 1] == lists_[digit - 1].size()) at[--digit] = 0;
      if (digit == 0) return {};
    }
  }
  const std::string& name() const override { return name_; }

 private:
  CommandTemplate template_;
  std::vector<std::vector<std::string>> lists_;
  std::string name_ = "the list behind \":::\"";
};

class EachSource final : public TaskSource {
 public:
  EachSource(const std::vector<std::string>& words, DelimitedReader reader)
      : template_(words, 1), reader_(std::move(reader)) {}

  Result<void> check() override { return check_arguments(template_, 1); }

  Result<void> deliver(TaskCollector& to) override {
    TaskSpec task;
    std::vector<std::string_view> arguments(1);
    for (;;) {
      auto item = reader_.next();
      if (!item) return fail(std::move(item.error()));
      if (!*item) return {};
      arguments[0] = **item;
      if (arguments[0].find('\0') != std::string_view::npos) {
        return fail(ErrorCode::fix_request,
                    fmt::format("{}:{}: holds a NUL, which no argument can; give -0 if NULs separate the items",
                                reader_.name(), reader_.number()));
      }
      carriage_returns_ += arguments[0].ends_with('\r') ? 1 : 0;
      template_.fill(arguments, to.size(), task.argv);
      task.source_line = reader_.number();
      if (auto added = to.add(task); !added) {
        return fail(added.error().with_context(fmt::format("{}:{}", reader_.name(), reader_.number())));
      }
    }
  }
  const std::string& name() const override { return reader_.name(); }
  std::vector<std::string> notes() const override {
    if (carriage_returns_ == 0) return {};
    return {
        fmt::format("{}: {} of the items end in a carriage return, which is part of the argument; dos2unix removes "
                    "them",
                    name(), carriage_returns_)};
  }

 private:
  CommandTemplate template_;
  DelimitedReader reader_;
  std::uint64_t carriage_returns_ = 0;
};

class CommandSource final : public TaskSource {
 public:
  CommandSource(std::vector<std::string> words, std::uint64_t count, bool is_array)
      : words_(std::move(words)), template_(words_, 0), count_(count), is_array_(is_array) {}

  Result<void> deliver(TaskCollector& to) override {
    TaskSpec task;
    if (!is_array_ || !template_.uses_step()) {
      task.argv = words_;
      return to.add(task, count_);
    }
    for (std::uint64_t step = 0; step < count_; ++step) {
      template_.fill({}, step, task.argv);
      if (auto added = to.add(task); !added) return added;
    }
    return {};
  }
  bool is_explicit_array() const override { return is_array_; }
  const std::string& name() const override { return name_; }

 private:
  std::vector<std::string> words_;
  CommandTemplate template_;
  std::uint64_t count_;
  bool is_array_;
  std::string name_ = "the command line";
};

}  // namespace

std::unique_ptr<TaskSource> make_product_source(const std::vector<std::string>& words,
                                                std::vector<std::vector<std::string>> lists) {
  return std::make_unique<ProductSource>(words, std::move(lists));
}

std::unique_ptr<TaskSource> make_each_source(const std::vector<std::string>& words, DelimitedReader reader) {
  return std::make_unique<EachSource>(words, std::move(reader));
}

std::unique_ptr<TaskSource> make_command_source(std::vector<std::string> words, std::uint64_t count, bool is_array) {
  return std::make_unique<CommandSource>(std::move(words), count, is_array);
}

}  // namespace allot
