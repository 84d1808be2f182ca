// SPDX-License-Identifier: MIT
#include "tests/support/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

extern char** environ;

namespace allot::test {

namespace {

[[noreturn]] void fail_with_errno(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

void make_pipe(Fd& read_end, Fd& write_end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail_with_errno("pipe2");
  read_end.reset(ends[0]);
  write_end.reset(ends[1]);
}

void set_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) fail_with_errno("fcntl");
}

std::vector<std::string> make_environment(const ProgramOptions& options) {
  std::vector<std::string> made;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    const bool is_set = std::any_of(options.environment.begin(), options.environment.end(),
                                    [&](const auto& variable) { return variable.first == name; });
    const bool is_unset = std::find(options.unset.begin(), options.unset.end(), name) != options.unset.end();
    if (!is_set && !is_unset) made.emplace_back(text);
  }
  for (const auto& [name, value] : options.environment) made.push_back(name + "=" + value);
  return made;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (auto& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Only async-signal-safe calls: the test may have threads.
[[noreturn]] void become_program(const int fds[3], bool on_terminal, const char* cwd, char* const* argv,
                                 char* const* envp) {
  const auto die = [](const char* what) {
    const char* reason = std::strerror(errno);
    if (::write(2, what, std::strlen(what)) < 0 || ::write(2, ": ", 2) < 0 ||
        ::write(2, reason, std::strlen(reason)) < 0) {
      ::_exit(126);
    }
    ::_exit(126);
  };
  if (on_terminal) {
    if (::setsid() < 0 || ::ioctl(fds[0], TIOCSCTTY, 0) < 0) die("controlling terminal");
  } else if (::setpgid(0, 0) != 0) {
    die("setpgid");
  }
  for (int fd = 0; fd < 3; ++fd) {
    if (::dup2(fds[fd], fd) < 0) die("dup2");
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (*cwd != '\0' && ::chdir(cwd) != 0) die(cwd);
  ::execvpe(argv[0], argv, envp);
  die(argv[0]);
  ::_exit(126);
}

// True when the stream has ended.
bool drain(Fd& fd, std::string& to) {
  char block[65536];
  const ssize_t got = ::read(fd.get(), block, sizeof block);
  if (got > 0) {
    to.append(block, static_cast<std::size_t>(got));
    return false;
  }
  // A pseudo terminal whose other side is closed gives EIO.
  return got == 0 || (errno != EAGAIN && errno != EINTR);
}

}  // namespace

std::string built_program(const std::string& name) {
  return std::string(ALLOT_BINARY_DIR) + "/bin/" + name;
}

RunningProgram::RunningProgram(const ProgramOptions& options)
    : options_(options),
      deadline_(std::chrono::steady_clock::now() + options.timeout),
      input_(options.input),
      input_ends_(!options.keep_input_open && !options.on_terminal) {
  Fd child_in, child_out, child_err;
  make_pipe(out_fd_, child_out);
  if (options.on_terminal) {
    winsize size{};
    size.ws_row = 24;
    size.ws_col = options.columns;
    int master = -1;
    int slave = -1;
    if (::openpty(&master, &slave, nullptr, nullptr, &size) != 0) fail_with_errno("openpty");
    err_fd_.reset(master);
    child_in.reset(slave);
    child_err.reset(::fcntl(slave, F_DUPFD_CLOEXEC, 3));
    ::fcntl(slave, F_SETFD, FD_CLOEXEC);
    in_.reset(::fcntl(master, F_DUPFD_CLOEXEC, 3));
    ::fcntl(master, F_SETFD, FD_CLOEXEC);
  } else {
    make_pipe(child_in, in_);
    make_pipe(err_fd_, child_err);
  }
  set_nonblocking(in_.get());
  set_nonblocking(out_fd_.get());
  set_nonblocking(err_fd_.get());

  std::vector<std::string> arguments = options.argv;
  std::vector<std::string> variables = make_environment(options);
  const std::vector<char*> argv = pointers_to(arguments);
  const std::vector<char*> envp = pointers_to(variables);
  const int fds[3] = {child_in.get(), child_out.get(), child_err.get()};
  pid_ = ::fork();
  if (pid_ < 0) fail_with_errno("fork");
  if (pid_ == 0) become_program(fds, options.on_terminal, options_.cwd.c_str(), argv.data(), envp.data());
  if (!options.on_terminal) ::setpgid(pid_, pid_);  // whichever of the two comes first
  push_input();                                     // the test may wait for what the program does with it
}

RunningProgram::~RunningProgram() {
  if (reaped_) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void RunningProgram::send_signal(int signal) {
  if (reaped_) give_up("a signal for a program that has ended");
  if (::kill(pid_, signal) != 0) fail_with_errno("kill");
}

void RunningProgram::write_input(std::string_view bytes) {
  input_.append(bytes);
  push_input();
}

void RunningProgram::close_input() {
  input_ends_ = true;
  push_input();
}

void RunningProgram::push_input() {
  if (in_ && written_ < input_.size()) {
    sigset_t pipe_signal, before;
    ::sigemptyset(&pipe_signal);
    ::sigaddset(&pipe_signal, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    const ssize_t put = ::write(in_.get(), input_.data() + written_, input_.size() - written_);
    const int error = errno;
    if (put < 0 && error == EPIPE) {
      const timespec at_once{};
      ::sigtimedwait(&pipe_signal, nullptr, &at_once);
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (put >= 0) written_ += static_cast<std::size_t>(put);
    if (put < 0 && error != EAGAIN && error != EINTR) in_.reset();  // it reads no more: that is its right
  }
  if (in_ && input_ends_ && written_ == input_.size() && !options_.on_terminal) in_.reset();
}

bool RunningProgram::pump() {
  push_input();
  if (!out_fd_ && !err_fd_) return false;

  pollfd waiting[3] = {{out_fd_.get(), POLLIN, 0},
                       {err_fd_.get(), POLLIN, 0},
                       {in_ && written_ < input_.size() ? in_.get() : -1, POLLOUT, 0}};
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - std::chrono::steady_clock::now());
  if (left.count() <= 0) give_up("its time is over");
  if (::poll(waiting, 3, static_cast<int>(left.count())) < 0 && errno != EINTR) fail_with_errno("poll");
  if (waiting[0].revents != 0 && drain(out_fd_, out_)) out_fd_.reset();
  if (waiting[1].revents != 0 && drain(err_fd_, err_)) err_fd_.reset();
  return true;
}

std::size_t RunningProgram::wait_for(const std::string& stream, std::string_view text, std::size_t from) {
  for (;;) {
    const std::size_t found = stream.find(text, from);
    if (found != std::string::npos) return found + text.size();
    if (!pump()) give_up("it ended without printing \"" + std::string(text) + "\"");
  }
}

ProgramOutcome RunningProgram::finish() {
  while (pump()) {
  }
  int status = 0;
  for (;;) {
    // Its outputs have ended, so it is about to; a program that closed them itself is bounded by the kill.
    const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
    if (ended == pid_) break;
    if (ended < 0 && errno != EINTR) fail_with_errno("waitpid");
    if (std::chrono::steady_clock::now() > deadline_) give_up("it closed its outputs and did not end");
    ::poll(nullptr, 0, 1);
  }
  reaped_ = true;
  ProgramOutcome outcome;
  if (WIFEXITED(status)) outcome.exit_status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  outcome.out = std::move(out_);
  outcome.err = std::move(err_);
  return outcome;
}

std::string RunningProgram::describe() const {
  std::string text;
  for (const auto& argument : options_.argv) text += (text.empty() ? "" : " ") + argument;
  return text + "\n-- stdout:\n" + out_.substr(0, 4000) + "\n-- stderr:\n" + err_.substr(0, 4000);
}

void RunningProgram::give_up(const std::string& why) {
  throw std::runtime_error(why + ": " + describe());
}

ProgramOutcome run_program(const ProgramOptions& options) {
  return RunningProgram(options).finish();
}

}  // namespace allot::test
