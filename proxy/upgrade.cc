#include "proxy/upgrade.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "balancer/fields.h"
#include "conf/units.h"
#include "proxy/listen_socket.h"

namespace sluice::proxy {
namespace {

constexpr const char* kVariable = "SLUICE_UPGRADE";
constexpr char kAskState = 's';
constexpr char kGiveState = 'g';
constexpr char kReady = 'r';
constexpr char kLastWord = 'f';

conf::Error system_error(std::string detail) {
  return {conf::Error::Kind::io, conf::Error::Source::system, false, std::move(detail)};
}

// With which this process was started.
std::vector<std::string> own_arguments() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string one; std::getline(file, one, '\0');) arguments.push_back(one);
  return arguments;
}

std::string own_binary() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  return size > 0 ? std::string(path, static_cast<size_t>(size)) : std::string{};
}

// What lies at the name by which this process was started, and not what that name
// led to then: an operator who points a symlink at a new version means that one.
std::string own_name(const std::vector<std::string>& arguments, const std::string& real) {
  std::error_code failed;
  const auto is_own = [&](const std::string& name) {
    return name.rfind("/proc/", 0) != 0 && std::filesystem::equivalent(name, "/proc/self/exe", failed);
  };
  if (arguments.empty() || arguments.front().empty()) return real;
  const std::string& name = arguments.front();
  if (name.find('/') != std::string::npos) {
    const std::filesystem::path whole = std::filesystem::absolute(name, failed);
    return !failed && is_own(whole.string()) ? whole.string() : real;
  }
  const char* const variable = std::getenv("PATH");
  std::istringstream folders(variable != nullptr ? variable : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::filesystem::path whole =
        std::filesystem::absolute(std::filesystem::path(folder) / name, failed);
    if (!failed && is_own(whole.string())) return whole.string();
  }
  return real;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Our environment with the sockets in it, which the new process has from
// descriptor kChannelFd + 1 on.
std::vector<std::string> environment_with(const std::vector<NamedSockets>& sockets) {
  std::vector<std::string> all;
  for (char** one = environ; *one != nullptr; ++one) all.emplace_back(*one);
  std::string lines = std::string(kVariable) + "=";
  int fd = Inheritance::kChannelFd;
  for (const NamedSockets& named : sockets) {
    for (size_t i = 0; i < named.fds.size(); ++i) lines += (i == 0 ? "" : ",") + std::to_string(++fd);
    lines += " " + named.name + "\n";
  }
  all.push_back(std::move(lines));
  return all;
}

}  // namespace

Upgrade::Upgrade(Loop& loop, Hooks hooks)
    : loop_(loop),
      hooks_(std::move(hooks)),
      binary_(own_binary()),
      name_(own_name(own_arguments(), binary_)),
      deadline_(
          [](void* self) { static_cast<Upgrade*>(self)->fail("the new process did not get ready in time"); },
          this) {}

conf::Status Upgrade::start(const std::vector<NamedSockets>& sockets) {
  std::vector<std::string> arguments = own_arguments();
  std::vector<std::string> environment = environment_with(sockets);
  std::vector<char*> argument_pointers = pointers_to(arguments);
  std::vector<char*> environment_pointers = pointers_to(environment);
  auto* const attempt = new Attempt;
  attempt->upgrade = this;
  attempt->process.data = attempt->channel.data = attempt;
  uv_pipe_init(loop_.uv(), &attempt->channel, 0);

  std::vector<uv_stdio_container_t> descriptors(Inheritance::kChannelFd + 1);
  for (int fd = 0; fd < Inheritance::kChannelFd; ++fd) {
    descriptors[fd].flags = UV_INHERIT_FD;
    descriptors[fd].data.fd = fd;
  }
  descriptors[Inheritance::kChannelFd].flags =
      static_cast<uv_stdio_flags>(UV_CREATE_PIPE | UV_READABLE_PIPE | UV_WRITABLE_PIPE);
  descriptors[Inheritance::kChannelFd].data.stream = reinterpret_cast<uv_stream_t*>(&attempt->channel);
  for (const NamedSockets& named : sockets) {
    for (const int fd : named.fds) {
      descriptors.emplace_back();
      descriptors.back().flags = UV_INHERIT_FD;
      descriptors.back().data.fd = fd;
    }
  }
  uv_process_options_t options{};
  const std::string& file = access(name_.c_str(), X_OK) == 0 ? name_ : binary_;
  options.file = file.c_str();
  options.args = argument_pointers.data();
  options.env = environment_pointers.data();
  options.stdio = descriptors.data();
  options.stdio_count = static_cast<int>(descriptors.size());
  options.exit_cb = on_exit;
  const int error = uv_spawn(loop_.uv(), &attempt->process, &options);
  attempt->handles = 2;
  attempt_ = attempt;
  if (error != 0) {
    close_handle(reinterpret_cast<uv_handle_t*>(&attempt->process));
    end_attempt();
    return system_error("cannot start " + file + ": " + uv_strerror(error));
  }
  uv_read_start(
      reinterpret_cast<uv_stream_t*>(&attempt->channel),
      [](uv_handle_t* handle, size_t, uv_buf_t* buffer) {
        *buffer = uv_buf_init(static_cast<Attempt*>(handle->data)->upgrade->loop_.read_buffer(), 1);
      },
      [](uv_stream_t* stream, ssize_t size, const uv_buf_t* buffer) {
        Upgrade* const self = static_cast<Attempt*>(stream->data)->upgrade;
        const Loop::Scope scope(self->loop_);
        if (size > 0) self->on_letter(buffer->base[0]);
        // Its end will follow, and its exit code says more.
        if (size < 0) uv_read_stop(stream);
      });
  loop_.arm(deadline_, kReadyMs);
  return conf::Done{};
}

void Upgrade::on_letter(char letter) {
  if (letter == kAskState && !attempt_->asked) {
    attempt_->asked = true;
    hooks_.let_go();
  } else if (letter == kReady && attempt_->let_go && !attempt_->committed) {
    attempt_->committed = true;
    deadline_.disarm();
    send(kLastWord, hooks_.last_word(), [this] { end_well(); });
  }
}

void Upgrade::give_state(const std::string& state) {
  attempt_->let_go = true;
  send(kGiveState, state, [] {});
}

void Upgrade::end_well() {
  const int pid = attempt_->process.pid;
  close_handle(reinterpret_cast<uv_handle_t*>(&attempt_->process));
  attempt_->over = true;
  hooks_.done(pid);
}

bool Upgrade::tell(char letter, const std::string& octets) {
  if (attempt_ == nullptr || !attempt_->over) return false;
  auto* const channel = reinterpret_cast<uv_stream_t*>(&attempt_->channel);
  if (uv_stream_get_write_queue_size(channel) > 0) return false;
  send(letter, octets, [] {});
  return true;
}

void Upgrade::close() {
  if (attempt_ != nullptr && attempt_->over) end_attempt();
}

// `sent` is not called where the other process is gone: its exit will be told.
void Upgrade::send(char letter, const std::string& state, std::function<void()> sent) {
  struct Write {
    uv_write_t request;
    std::string text;
    Attempt* attempt;
    std::function<void()> sent;
  };
  std::string text(1, letter);
  balancer::append_u32(text, static_cast<uint32_t>(state.size()));
  auto* const write = new Write{{}, text + state, attempt_, std::move(sent)};
  write->request.data = write;
  const uv_buf_t buffer = uv_buf_init(write->text.data(), static_cast<unsigned>(write->text.size()));
  const int error = uv_write(&write->request, reinterpret_cast<uv_stream_t*>(&attempt_->channel), &buffer, 1,
                             [](uv_write_t* request, int status) {
                               const std::unique_ptr<Write> done(static_cast<Write*>(request->data));
                               Upgrade* const self = done->attempt->upgrade;
                               if (status != 0 || self == nullptr) return;
                               const Loop::Scope scope(self->loop_);
                               done->sent();
                             });
  if (error != 0) delete write;
}

void Upgrade::on_exit(uv_process_t* process, int64_t status, int signal) {
  if (Upgrade* const self = static_cast<Attempt*>(process->data)->upgrade; self != nullptr) {
    const Loop::Scope scope(self->loop_);
    self->fail(signal != 0 ? "the new process was ended by signal " + std::to_string(signal)
                           : "the new process ended with exit code " + std::to_string(status));
  }
  close_handle(reinterpret_cast<uv_handle_t*>(process));
}

void Upgrade::fail(const std::string& why) {
  const bool had_let_go = attempt_->let_go;
  // If it lives; its exit closes the handle.
  uv_process_kill(&attempt_->process, SIGKILL);
  end_attempt();
  hooks_.failed(why, had_let_go);
}

void Upgrade::give_up(const std::string& why) {
  if (attempt_ != nullptr && !attempt_->committed) fail(why);
}

void Upgrade::end_attempt() {
  deadline_.disarm();
  Attempt* const attempt = std::exchange(attempt_, nullptr);
  attempt->upgrade = nullptr;
  close_handle(reinterpret_cast<uv_handle_t*>(&attempt->channel));
}

void Upgrade::close_handle(uv_handle_t* handle) {
  uv_close(handle, [](uv_handle_t* closed) {
    auto* const attempt = static_cast<Attempt*>(closed->data);
    if (--attempt->handles == 0) delete attempt;
  });
}

Inheritance Inheritance::take() {
  Inheritance inheritance;
  const char* const variable = std::getenv(kVariable);
  if (variable == nullptr) {
    inheritance.take_activated();
    return inheritance;
  }
  inheritance.channel_ = kChannelFd;
  fcntl(kChannelFd, F_SETFD, FD_CLOEXEC);
  std::string_view lines = variable;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    std::string_view numbers = line.substr(0, line.find(' '));
    std::vector<int>& fds =
        inheritance.sockets_[std::string(line.substr(std::min(numbers.size() + 1, line.size())))];
    while (!numbers.empty()) {
      const std::string_view number = numbers.substr(0, numbers.find(','));
      numbers.remove_prefix(std::min(number.size() + 1, numbers.size()));
      const std::optional<uint64_t> fd = conf::parse_unsigned(number);
      if (!fd || fcntl(static_cast<int>(*fd), F_SETFD, FD_CLOEXEC) != 0) continue;
      fds.push_back(static_cast<int>(*fd));
    }
  }
  unsetenv(kVariable);
  return inheritance;
}

void Inheritance::take_activated() {
  constexpr int kFirst = 3;
  constexpr uint64_t kMost = 256;
  const auto number_in = [](const char* name) {
    const char* const text = std::getenv(name);
    return text == nullptr ? std::nullopt : conf::parse_unsigned(text);
  };
  const std::optional<uint64_t> pid = number_in("LISTEN_PID");
  const std::optional<uint64_t> count = number_in("LISTEN_FDS");
  for (const char* const name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) unsetenv(name);
  if (!pid || !count || *pid != static_cast<uint64_t>(getpid())) return;
  for (int fd = kFirst; fd < kFirst + static_cast<int>(std::min(*count, kMost)); ++fd) {
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) continue;
    const std::optional<conf::Address> address = bound_tcp_address(fd);
    if (address && activated_.try_emplace(address->to_string(), std::vector<int>{fd}).second) continue;
    close(fd);
  }
}

Inheritance::Inheritance(Inheritance&& other) noexcept
    : channel_(std::exchange(other.channel_, -1)),
      kept_channel_(std::exchange(other.kept_channel_, -1)),
      sockets_(std::move(other.sockets_)),
      activated_(std::move(other.activated_)) {
  other.sockets_.clear();
  other.activated_.clear();
}

Inheritance::~Inheritance() {
  for (const auto* const all : {&sockets_, &activated_}) {
    for (const auto& [name, fds] : *all) {
      for (const int fd : fds) close(fd);
    }
  }
  if (channel_ >= 0) close(channel_);
  if (kept_channel_ >= 0) close(kept_channel_);
}

namespace {

std::vector<int> take_from(std::map<std::string, std::vector<int>>& sockets, const std::string& name) {
  auto found = sockets.extract(name);
  return found.empty() ? std::vector<int>{} : std::move(found.mapped());
}

}  // namespace

std::vector<int> Inheritance::claim(const std::string& name) {
  return take_from(sockets_, name);
}

std::vector<int> Inheritance::claim_activated(const conf::Address& bind) {
  return take_from(activated_, bind.to_string());
}

namespace {

bool read_exactly(int fd, char* to, size_t size) {
  while (size > 0) {
    const ssize_t got = read(fd, to, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

conf::Status Inheritance::ask_for_state() {
  const char ask = kAskState;
  if (write(channel_, &ask, 1) != 1) return system_error("the process to take over from is gone");
  return read_state(kGiveState);
}

conf::Status Inheritance::read_state(char letter) {
  constexpr uint32_t kMostBytes = 64 * 1024 * 1024;
  char head[1 + 4];
  if (!read_exactly(channel_, head, sizeof(head)) || head[0] != letter) {
    return system_error("the process to take over from keeps its state");
  }
  const uint32_t size = balancer::read_u32({head + 1, 4});
  if (size > kMostBytes) return system_error("the process to take over from says what is no state");
  std::string state(size, '\0');
  if (!read_exactly(channel_, state.data(), size)) {
    return system_error("the process to take over from ended while it told its state");
  }
  state_ = std::move(state);
  return conf::Done{};
}

std::string Inheritance::report_ready() {
  const char letter = kReady;
  std::string last;
  // Without a predecessor nobody is left to tell, and nothing more to hear.
  const bool heard = write(channel_, &letter, 1) == 1 && read_state(kLastWord).ok();
  if (heard) last = std::exchange(state_, {});
  if (heard) {
    kept_channel_ = channel_;
  } else {
    close(channel_);
  }
  channel_ = -1;
  for (const auto& [name, fds] : sockets_) {
    for (const int fd : fds) close(fd);
  }
  sockets_.clear();
  return last;
}

}  // namespace sluice::proxy
