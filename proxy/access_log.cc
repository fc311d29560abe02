#include "proxy/access_log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

namespace sluice::proxy {

namespace {

// Of each worker: one is filled, one written, one waits.
constexpr size_t kLeastBuffers = 3;

conf::Error io_error(const std::string& what, int error) {
  return {conf::Error::Kind::io, conf::Error::Source::system, false, what + ": " + std::strerror(error)};
}

// Never waits: a FIFO that nobody reads is an error, not a hang.
conf::Result<int> open_path(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
  if (fd < 0) return io_error("the access log " + path + " cannot be opened", errno);
  // From here on it is the log's thread that may wait.
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  return fd;
}

}  // namespace

// What workers, the log's thread and the control thread share.
struct AccessLog::Core {
  // Any thread's, but run() and what it calls, which are the log's thread's.
  Core(uint32_t workers, uint64_t seed);
  ~Core();

  void wake();
  void wait();
  void run();
  bool drain();
  void write_out(const Writer::Buffer& buffer);
  std::string_view write_all(std::string_view bytes);
  void set_target(int fd);
  std::optional<int> take_next_target();
  void adopt(int next);

  const int wake_fd;
  const size_t most_buffers;  // of one worker
  std::vector<std::unique_ptr<Writer>> writers;
  std::atomic<bool> enabled{false};
  std::atomic<bool> stopping{false};
  std::atomic<double> sample{1.0};
  std::atomic<int> last_errno{0};
  balancer::Counter written;
  balancer::Counter lost;
  balancer::Counter write_errors;

  std::mutex mutex;  // never taken by a worker
  std::condition_variable has_ended;
  bool ended = false;              // guarded by mutex
  std::optional<int> next_target;  // guarded by mutex; -1: none

  // The log's thread only.
  int target = -1;
  bool torn = false;  // the last octet written was not the end of a line
};

AccessLog::Writer::Writer(Core& core, size_t most_buffers, size_t buffer_bytes, uint64_t seed)
    : core_(core),
      buffer_bytes_(buffer_bytes),
      random_(seed),
      buffers_(most_buffers),
      full_(most_buffers),
      empty_(most_buffers) {
  spare_.reserve(most_buffers);
}

bool AccessLog::Writer::take_buffer() {
  while (Buffer* const returned = empty_.pop()) spare_.push_back(returned);
  if (spare_.empty()) {
    const auto unmade = std::find(buffers_.begin(), buffers_.end(), nullptr);
    if (unmade == buffers_.end()) return false;
    *unmade = std::make_unique<Buffer>(buffer_bytes_);
    spare_.push_back(unmade->get());
  }
  filling_ = spare_.back();
  spare_.pop_back();
  filling_->size = filling_->lines = 0;
  return true;
}

// The ring has room for every buffer there is.
void AccessLog::Writer::hand_over() {
  full_.push(std::exchange(filling_, nullptr));
  waiting_since_us_ = 0;
  core_.wake();
}

void AccessLog::Writer::record(const AccessRecord& record, uint64_t wall_us) {
  const double sample = core_.sample.load(std::memory_order_relaxed);
  if (sample < 1 && !record.failed() && random_.unit() >= sample) return;
  if (filling_ == nullptr && !take_buffer()) return dropped_.add();
  char* const bytes = filling_->bytes.get();
  filling_->size = static_cast<size_t>(write_access_line(bytes + filling_->size, record, wall_us) - bytes);
  ++filling_->lines;
  lines_.add();
  if (filling_->size >= buffer_bytes_) hand_over();
}

void AccessLog::Writer::flush_aged(uint64_t now_us) {
  if (filling_ == nullptr) return;
  if (waiting_since_us_ == 0) {
    waiting_since_us_ = now_us;
  } else if (now_us - waiting_since_us_ >= kMostAgeUs) {
    hand_over();
  }
}

AccessLog::Core::Core(uint32_t workers, uint64_t seed)
    : wake_fd(eventfd(0, EFD_CLOEXEC)),
      most_buffers(std::max(kLeastBuffers, kMostBytes / buffer_bytes(workers) / workers)) {
  // Fails but for want of descriptors, and then nothing can be done.
  if (wake_fd < 0) std::abort();
  balancer::Random seeds(seed);
  for (uint32_t i = 0; i < workers; ++i) {
    writers.push_back(std::make_unique<Writer>(*this, most_buffers, buffer_bytes(workers), seeds.next()));
  }
}

AccessLog::Core::~Core() {
  set_target(-1);
  adopt(-1);
  ::close(wake_fd);
}

void AccessLog::Core::wake() {
  const uint64_t one = 1;
  // It could only wait at 2^64 - 1 unseen wake-ups.
  while (::write(wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

void AccessLog::Core::wait() {
  uint64_t wakes = 0;
  while (::read(wake_fd, &wakes, sizeof(wakes)) < 0 && errno == EINTR) {
  }
}

void AccessLog::Core::set_target(int fd) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (next_target.value_or(-1) >= 0) ::close(*next_target);
  next_target = fd;
  wake();
}

std::optional<int> AccessLog::Core::take_next_target() {
  const std::lock_guard<std::mutex> lock(mutex);
  return std::exchange(next_target, std::nullopt);
}

void AccessLog::Core::adopt(int next) {
  if (target >= 0) ::close(target);
  target = next;
  torn = false;
}

void AccessLog::Core::run() {
  // Signals are the control thread's, and a broken pipe is an errno.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  bool more = false;
  for (bool last = false; !last;) {
    if (!more) wait();
    // Asked first: what was handed over before the end is then seen below.
    last = stopping.load(std::memory_order_acquire);
    // A new target gets no line that was handed over before it, unless there
    // was none to write to.
    std::optional<int> next = take_next_target();
    if (target < 0 && next.has_value()) adopt(*std::exchange(next, std::nullopt));
    more = drain();
    if (next.has_value()) adopt(*next);
  }
  for (const auto& writer : writers) {
    if (writer->filling_ != nullptr) write_out(*writer->filling_);
  }
  const std::lock_guard<std::mutex> lock(mutex);
  ended = true;
  has_ended.notify_all();
}

// Writes what had been handed over before the call, from all workers in turn;
// true when there may be more by now.
bool AccessLog::Core::drain() {
  bool found = true;
  for (size_t i = 0; i < most_buffers && found; ++i) {
    found = false;
    for (const auto& writer : writers) {
      Writer::Buffer* const buffer = writer->full_.pop();
      if (buffer == nullptr) continue;
      found = true;
      write_out(*buffer);
      writer->empty_.push(buffer);
    }
  }
  return found;
}

void AccessLog::Core::write_out(const Writer::Buffer& buffer) {
  if (target < 0) return;
  const std::string_view all(buffer.bytes.get(), buffer.size);
  std::string_view left = all;
  if (!torn || write_all("\n").empty()) left = write_all(all);
  const auto not_written = static_cast<uint64_t>(std::count(left.begin(), left.end(), '\n'));
  written.add(buffer.lines - not_written);
  lost.add(not_written);
}

// Returns what could not be written.
std::string_view AccessLog::Core::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t taken = ::write(target, bytes.data(), bytes.size());
    if (taken > 0) {
      torn = bytes[static_cast<size_t>(taken) - 1] != '\n';
      bytes.remove_prefix(static_cast<size_t>(taken));
    } else if (taken < 0 && errno == EAGAIN) {
      // Somebody who shares standard output made it non-blocking.
      pollfd wait{target, POLLOUT, 0};
      poll(&wait, 1, -1);
    } else if (taken == 0 || errno != EINTR) {
      last_errno.store(taken == 0 ? EIO : errno, std::memory_order_relaxed);
      write_errors.add();
      break;
    }
  }
  return bytes;
}

size_t AccessLog::buffer_bytes(uint32_t workers) {
  return std::clamp(kMostBytes / kLeastBuffers / workers, kLeastBufferBytes, kMostBufferBytes);
}

AccessLog::AccessLog(uint32_t workers, uint64_t seed)
    : core_(std::make_shared<Core>(workers, seed)), thread_([core = core_] { core->run(); }) {}

AccessLog::~AccessLog() {
  close();
}

conf::Status AccessLog::configure(const conf::Log& log) {
  const bool off = log.access == "off";
  const bool standard_output = log.access == "stdout";
  int fd = -1;
  if (standard_output) {
    fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) return io_error("standard output cannot be used for the access log", errno);
  } else if (!off) {
    const conf::Result<int> opened = open_path(log.access);
    if (!opened.ok()) return opened.error();
    fd = *opened;
  }
  path_ = off || standard_output ? std::string() : log.access;
  core_->set_target(fd);
  core_->sample.store(log.sample, std::memory_order_relaxed);
  core_->enabled.store(!off, std::memory_order_relaxed);
  return conf::Done{};
}

conf::Status AccessLog::reopen() {
  if (path_.empty()) return conf::Done{};
  const conf::Result<int> opened = open_path(path_);
  if (!opened.ok()) return opened.error();
  core_->set_target(*opened);
  return conf::Done{};
}

bool AccessLog::enabled() const {
  return core_->enabled.load(std::memory_order_relaxed);
}

AccessLog::Writer& AccessLog::writer(uint32_t worker) {
  return *core_->writers.at(worker);
}

AccessLog::Stats AccessLog::stats() const {
  Stats sum;
  for (const auto& writer : core_->writers) {
    sum.lines += writer->lines_.get();
    sum.dropped += writer->dropped_.get();
  }
  sum.written = core_->written.get();
  sum.lost = core_->lost.get();
  sum.write_errors = core_->write_errors.get();
  return sum;
}

std::optional<AccessLog::Loss> AccessLog::take_loss(uint64_t now_us) {
  const Stats now = stats();
  const bool worse = now.dropped != reported_.dropped || now.write_errors != reported_.write_errors;
  if (!worse || now_us < next_report_us_) return std::nullopt;
  next_report_us_ = now_us + kReportUs;
  const int error = core_->last_errno.load(std::memory_order_relaxed);
  const Stats before = std::exchange(reported_, now);
  return Loss{now.dropped - before.dropped, now.lost - before.lost, now.write_errors - before.write_errors,
              error == 0 ? "" : std::strerror(error)};
}

bool AccessLog::close(uint64_t most_ms) {
  if (!thread_.joinable()) return true;
  core_->enabled.store(false, std::memory_order_relaxed);
  core_->stopping.store(true, std::memory_order_release);
  core_->wake();
  std::unique_lock<std::mutex> lock(core_->mutex);
  const bool ended =
      core_->has_ended.wait_for(lock, std::chrono::milliseconds(most_ms), [this] { return core_->ended; });
  lock.unlock();
  if (ended) {
    thread_.join();
  } else {
    thread_.detach();
  }
  return ended;
}

}  // namespace sluice::proxy
