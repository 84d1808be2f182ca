// SPDX-License-Identifier: MIT
// From a row of the task table to arguments, environment and open streams.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "ledger/writer_name.h"
#include "worker_node/guard.h"
#include "worker_node/guard_state.h"
#include "worker_node/shell_line.h"

namespace allot {
namespace {

std::string absolute(const std::string& path, const std::string& cwd) {
  return path.empty() || path[0] == '/' ? path : cwd + "/" + path;
}

bool is_directory(const std::string& path) {
  struct stat info;
  return (!path.empty() && path.back() == '/') || (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode));
}

bool same_file(int a, int b) {
  struct stat first, second;
  return ::fstat(a, &first) == 0 && ::fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// As open(2), but a link of /proc to an open descriptor (/dev/stdout, /dev/fd/3) is not followed: it leads to one of
// the process that opens it, the guard's own, such as the task table. errno EXDEV for these.
Fd open_named(const std::string& path, int flags) {
  flags |= O_CLOEXEC;
#ifdef SYS_openat2
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags);
  how.mode = (flags & O_CREAT) != 0 ? 0666 : 0;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  Fd fd(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
  if (!fd && errno == ELOOP) {
    const Fd followed(::open(path.c_str(), O_PATH | O_CLOEXEC));
    errno = followed ? EXDEV : ELOOP;
  }
  if (fd || (errno != ENOSYS && errno != EPERM)) return fd;
#endif
  // An older kernel, or a container that does not let it be called.
  if (path.starts_with("/proc/") || path.starts_with("/dev/fd/") || path.starts_with("/dev/std")) {
    errno = EXDEV;
    return Fd();
  }
  return Fd(::open(path.c_str(), flags, 0666));
}

bool is_fifo(const std::string& path) {
  const Fd fd = open_named(path, O_PATH);
  struct stat info;
  return fd && ::fstat(fd.get(), &info) == 0 && S_ISFIFO(info.st_mode);
}

Fd open_for_task(const std::string& path, int flags) {
  // What a device may block on must not hold up the guard. Taken off again for the task.
  Fd fd = open_named(path, flags | O_NONBLOCK | O_NOCTTY);
  if (fd) ::fcntl(fd.get(), F_SETFL, flags & O_APPEND);
  return fd;
}

std::string reason_of(int error) {
  if (error != EXDEV) return errno_text(error);
  return "it names an open descriptor, and that would be one of allot's own; name a file, or leave it out";
}

}  // namespace

std::string tail_of_file(const std::string& path, std::size_t max_bytes) {
  if (path.empty()) return {};
  const Fd fd = open_regular(path, O_RDONLY);
  struct stat info;
  if (!fd || ::fstat(fd.get(), &info) != 0) return {};
  const auto size = static_cast<std::size_t>(info.st_size);
  std::string bytes(std::min(size, max_bytes), '\0');
  const ssize_t n = pread_all(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(size - bytes.size()));
  bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return bytes;
}

std::string take_file(const std::string& path, std::size_t max_bytes) {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) return {};
  std::string bytes = S_ISREG(info.st_mode) ? tail_of_file(path, max_bytes) : std::string();
  remove_anything(path);  // a directory, too: the next task of this slot may want a file here
  return bytes;
}

void Guard::Launch::use_shell(const std::string& shell, const std::string& shell_line, std::vector<char*>& storage) {
  shell_words = {shell.substr(shell.rfind('/') + 1), "-c", shell_line};
  path = shell;
  storage.clear();
  for (std::string& word : shell_words) storage.push_back(word.data());
  storage.push_back(nullptr);
  argv = storage.data();
}

bool Guard::Launch::wait_for_fifo(const char* redirection, const std::string& fifo) {
  if (!is_fifo(fifo)) return false;
  std::string quoted;
  for (const char c : fifo) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  fifos += std::string(" ") + redirection + "'" + quoted + "'";
  return true;
}

void Guard::Launch::open_fifos_first(const std::string& shell, std::vector<char*>& storage) {
  const std::string opening = "exec" + fifos + " || exit 2; ";
  if (line != nullptr) return use_shell(shell, opening + *line, storage);
  const std::vector<char*> command(storage.begin(), storage.end());  // with its null at the end
  use_shell(shell, opening + "exec \"$@\"", storage);
  storage.back() = shell_words[0].data();
  storage.insert(storage.end(), command.begin(), command.end());
  argv = storage.data();
}

std::string Guard::Launch::describe_failure(const SpawnResult& result) const {
  std::string what = to_string(result.failed);
  if (result.failed == SpawnStage::exec) what += " " + path;
  if (result.failed == SpawnStage::chdir) what += " " + cwd;
  std::string text = what + ": " + errno_text(result.error);
  if (result.failed == SpawnStage::exec && result.error == E2BIG) {
    text +=
        "; a shell line, an argument or a variable may be 128 KiB long, all of them together a quarter of the stack "
        "limit";
  }
  if (result.failed == SpawnStage::exec && result.error == ENOENT && ::access(path.c_str(), F_OK) == 0) {
    text += "; the file is there, so its interpreter (the \"#!\" line or the dynamic linker) is missing";
  }
  if (result.failed == SpawnStage::clone && result.error == EAGAIN) {
    text += "; the limit of processes (ulimit -u, or the cgroup's pids.max) is reached";
  }
  return text;
}

std::optional<std::string> Guard::make_ready(const QueueEntry& entry, const TaskSpec& task, Launch& launch) {
  launch.cwd = task.cwd.empty() ? options_.cwd : task.cwd;
  launch.success_codes = &task.success_codes;
  RunContext run;
  run.id_base.assign(entry.id_base, kIdBaseLength);
  if (entry.is_array) run.array_step = entry.step - entry.step_origin;
  run.distributor_id = make_distributor_id(run.id_base, run.array_step);
  run.task_name = task.name;
  run.attempt = entry.attempt;
  run.round = entry.round;
  run.batch_directory = options_.batch_directory;
  run.error_file = options_.scratch + ".error";
  run.progress_file = options_.scratch + ".progress";

  // The value that the shell would export: programs run directly must see the same.
  if (pwd_cwd_ != launch.cwd) {
    pwd_ = shell_pwd(environment_->find_base("PWD"), launch.cwd);
    pwd_cwd_ = launch.cwd;
  }
  launch.envp = environment_->build(task, run, pwd_);
  if (auto refusal = open_streams(task, run, launch)) return refusal;

  const char* path_value = environment_->find("PATH");
  argv_.clear();
  if (task.is_shell()) {
    launch.line = &task.shell_line;
    char* const* arranged = nullptr;
    // A PWD that the task sets itself is put right by the shell alone.
    const bool sets_pwd = std::any_of(task.env.begin(), task.env.end(), [](const auto& e) { return e.first == "PWD"; });
    if (direct_lines_ && launch.fifos.empty() && !sets_pwd && !pwd_.empty() && path_value != nullptr &&
        split_plain_line(task.shell_line, words_)) {
      arranged = environment_->arrange();
    }
    if (arranged == nullptr) {
      launch.use_shell(options_.shell, task.shell_line, argv_);
      if (!launch.fifos.empty()) launch.open_fifos_first(options_.shell, argv_);
      return std::nullopt;
    }
    for (std::string& word : words_) argv_.push_back(word.data());
    launch.envp = arranged;
  } else {
    for (const std::string& word : task.argv) argv_.push_back(const_cast<char*>(word.c_str()));
  }
  const std::string& program = task.is_shell() ? words_[0] : task.argv[0];
  argv_.push_back(nullptr);
  launch.argv = argv_.data();
  if (program.find('/') != std::string::npos) {
    launch.path = program;
    if (!launch.fifos.empty()) launch.open_fifos_first(options_.shell, argv_);
    return std::nullopt;
  }
  const std::string search = path_value != nullptr ? path_value : "/usr/local/bin:/usr/bin:/bin";
  // Anew for each task, as a shell would: the task before may have made or removed a program of this name. To know that
  // an earlier hit still holds takes the same look at every directory up to it, so there is nothing to keep.
  const int error = find_executable(program, search, launch.cwd, launch.path);
  if (error == kUseShell && task.is_shell()) {
    launch.use_shell(options_.shell, task.shell_line, argv_);
    return std::nullopt;
  }
  if (error != 0) {
    return "cannot execute " + program + ": " +
           (error == ENOENT || error == kUseShell ? "no such program in PATH (" + search + ")"
                                                  : "found in PATH, but: " + errno_text(error));
  }
  if (!launch.fifos.empty()) launch.open_fifos_first(options_.shell, argv_);
  return std::nullopt;
}

std::optional<std::string> Guard::open_streams(const TaskSpec& task, const RunContext& run, Launch& launch) {
  if (!task.stdin_path.empty()) {
    const std::string path = absolute(task.stdin_path, launch.cwd);
    const bool waits = launch.wait_for_fifo("<", path);
    if (!waits) launch.input = open_for_task(path, O_RDONLY);
    if (!waits && !launch.input) return "cannot open its standard input " + path + ": " + reason_of(errno);
  }
  const auto external = [&](const std::string& given, char letter) {
    std::string path = absolute(given, launch.cwd);
    if (is_directory(path)) path += "/" + output_file_name(task.name, letter, run.distributor_id);
    return path;
  };
  const auto open_output = [&](const char* redirection, const std::string& path) {
    const bool waits = launch.wait_for_fifo(redirection, path);
    return open_for_task(waits ? "/dev/null" : path, O_WRONLY | O_CREAT | O_TRUNC);
  };
  if (!task.stdout_path.empty()) {
    const std::string path = external(task.stdout_path, 'o');
    launch.external_out = open_output(">", path);
    if (!launch.external_out) return "cannot write its standard output " + path + ": " + reason_of(errno);
  } else if (const int error = out_.prepare(); error != 0) {
    return "cannot catch its standard output: " + errno_text(error);
  }
  if (!task.stderr_path.empty()) {
    launch.stderr_path = external(task.stderr_path, 'e');
    launch.external_err = open_output("2>", launch.stderr_path);
    // One file for both, however it is spelt: one description, so that neither overwrites the other.
    if (launch.external_out && launch.external_err && same_file(launch.external_out.get(), launch.external_err.get())) {
      launch.external_err.reset(::fcntl(launch.external_out.get(), F_DUPFD_CLOEXEC, 3));
    }
    if (!launch.external_err) return "cannot write its standard error " + launch.stderr_path + ": " + reason_of(errno);
  } else if (const int error = err_.prepare(); error != 0) {
    return "cannot catch its standard error: " + errno_text(error);
  }
  return std::nullopt;
}

}  // namespace allot
