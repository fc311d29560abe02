// bench_load: an HTTP/1.1 load generator for what wrk cannot do.
//
//   bench_load rate   ADDRESS PATH --rate 8000 --connections 64 --seconds 10
//   bench_load closed ADDRESS PATH --connections 32 --seconds 10 [--close]
//   bench_load idle   ADDRESS PATH --connections 5000
//   bench_load rate   ADDRESS PATH --rate 1500 --random 1 ...
//   any of them with --tls (TLS 1.3, nothing verified, no session resumed), and
//   with --failures (the result then lists when each failure was seen)
//
// rate    an open loop: request k is due at k/rate seconds, whether or not the
//         ones before it were answered. Latency counts from when it was due, so
//         a stall is charged to every request it delayed (no "coordinated
//         omission": Tene, "How NOT to Measure Latency", 2013). With --random
//         SEED requests are due by chance, as those of many clients are: a
//         Poisson process of that rate.
// closed  each connection sends its next request when the last was answered;
//         with --close on a connection of its own.
// idle    each connection makes one request and is then held. A line is
//         printed when all are there; at the end of the standard input another
//         one says how many are still open.
//
// The result is a line of JSON. Latencies are exact: every one is kept and
// they are sorted at the end. An error is a connection that broke (except an
// idle one that the server closed, which is opened again and counted as
// reopened) or a request without an answer at the end; non_2xx counts apart.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "bench/load_connection.h"

namespace sluice::bench {
namespace {

constexpr size_t kScratchBytes = 256 * 1024;
constexpr int kEventsAtOnce = 512;
constexpr size_t kMaxConnecting = 128;  // connections on their way at one time
constexpr uint64_t kSecond = 1000000000;
constexpr uint64_t kGraceNs = 2 * kSecond;   // for the last answers
constexpr uint64_t kStartNs = 60 * kSecond;  // for opening the connections
constexpr uint64_t kForever = ~uint64_t{0};

uint64_t now_ns() {
  using namespace std::chrono;
  return static_cast<uint64_t>(duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count());
}

double wall_s() {
  using namespace std::chrono;
  return duration<double>(system_clock::now().time_since_epoch()).count();
}

enum class Mode : uint8_t { rate, closed, idle };

struct Options {
  Mode mode = Mode::rate;
  SocketAddress address;
  std::string request;
  size_t connections = 64;
  double seconds = 5;
  double rate = 8000;
  std::optional<uint64_t> seed;  // none: evenly spaced
  bool close = false;
  bool failures = false;
  std::shared_ptr<SSL_CTX> tls;  // null: plain
};

struct Totals {
  uint64_t requests = 0;  // answered
  uint64_t non_2xx = 0;
  uint64_t errors = 0;
  uint64_t reopened = 0;
  uint64_t bytes = 0;
  std::vector<uint32_t> latencies_us;
  std::vector<double> failed_at;  // seconds since the epoch, of answers that were not 2xx and of errors
};

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options), epoll_(epoll_create1(EPOLL_CLOEXEC)), connections_(options.connections) {
    if (epoll_ < 0) die("epoll_create1", true);
    for (size_t i = 0; i < connections_.size(); ++i) to_open_.push_back(i);
  }

  void run() {
    open_all();
    if (options_.mode == Mode::rate) plan();
    start_ns_ = now_ns();
    if (options_.mode == Mode::idle) {
      hold();
    } else {
      end_ns_ = start_ns_ + static_cast<uint64_t>(options_.seconds * 1e9);
      while (!finished()) {
        send_due();
        if (is_sending()) open_more();
        wait(next_wake_ns());
      }
      totals_.errors += busy_ + (options_.mode == Mode::rate ? due_after_ns_.size() - next_ : 0);
    }
    print();
  }

 private:
  // --- opening ---------------------------------------------------------------
  // All are open before the clock starts. In idle mode each has then made its
  // request as well.
  void open_all() {
    const uint64_t deadline = now_ns() + kStartNs;
    while (!to_open_.empty() || connecting_ > 0 || busy_ > 0) {
      if (now_ns() > deadline || totals_.errors > options_.connections) {
        die("could not open the connections: " + std::to_string(totals_.errors) + " errors");
      }
      open_more();
      wait(now_ns() + kSecond / 10);
    }
  }

  void open_more() {
    while (!to_open_.empty() && connecting_ < kMaxConnecting) {
      const size_t index = to_open_.front();
      to_open_.pop_front();
      auto& connection = connections_[index];
      connection = std::make_unique<LoadConnection>(options_.address, options_.tls.get());
      if (connection->fd() < 0) {
        ++totals_.errors;
        to_open_.push_back(index);
        return;
      }
      ++connecting_;
      epoll_event event = {};
      event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
      event.data.u64 = index;
      if (epoll_ctl(epoll_, EPOLL_CTL_ADD, connection->fd(), &event) != 0) die("epoll_ctl", true);
    }
  }

  void reopen(size_t index) {
    connections_[index].reset();
    to_open_.push_back(index);
  }

  // --- sending ---------------------------------------------------------------
  void plan() {
    std::mt19937_64 random(options_.seed.value_or(0));
    std::exponential_distribution<double> pause(options_.rate);
    for (double at_s = 0; at_s < options_.seconds;) {
      due_after_ns_.push_back(static_cast<uint64_t>(at_s * 1e9));
      at_s = options_.seed ? at_s + pause(random) : static_cast<double>(due_after_ns_.size()) / options_.rate;
    }
  }

  bool is_sending() const {
    return options_.mode == Mode::rate ? next_ < due_after_ns_.size() : now_ns() < end_ns_;
  }
  bool finished() const { return (!is_sending() && busy_ == 0) || now_ns() > end_ns_ + kGraceNs; }

  void send_due() {
    while (!idle_.empty() && is_sending()) {
      const uint64_t now = now_ns();
      const uint64_t due = options_.mode == Mode::rate ? start_ns_ + due_after_ns_[next_] : now;
      if (due > now) return;
      const size_t index = idle_.front();
      idle_.pop_front();
      if (connections_[index] == nullptr || !connections_[index]->is_idle()) continue;  // it was closed
      ++next_;
      send(index, due);
    }
  }

  void send(size_t index, uint64_t due) {
    connections_[index]->due_ns = due;
    ++busy_;
    if (connections_[index]->send(options_.request)) return;
    --busy_;
    ++totals_.errors;
    reopen(index);
  }

  uint64_t next_wake_ns() const {
    if (!is_sending()) return end_ns_ + kGraceNs;
    if (options_.mode == Mode::rate)
      return idle_.empty() ? end_ns_ + kGraceNs : start_ns_ + due_after_ns_[next_];
    return end_ns_;
  }

  // --- events ----------------------------------------------------------------
  void wait(uint64_t until_ns) {
    const uint64_t now = now_ns();
    const uint64_t left = until_ns > now ? until_ns - now : 0;
    timespec timeout = {.tv_sec = static_cast<time_t>(left / kSecond),
                        .tv_nsec = static_cast<long>(left % kSecond)};
    const int count = epoll_pwait2(epoll_, events_.data(), kEventsAtOnce,
                                   until_ns == kForever ? nullptr : &timeout, nullptr);
    for (int i = 0; i < count; ++i) {
      const auto index = static_cast<size_t>(events_[static_cast<size_t>(i)].data.u64);
      if (connections_[index] != nullptr) on_event(index);
    }
  }

  void on_event(size_t index) {
    LoadConnection& connection = *connections_[index];
    const bool was_idle = connection.is_idle();
    const bool was_busy = connection.is_waiting();
    switch (connection.on_event(scratch_.data(), scratch_.size())) {
      case LoadConnection::Event::nothing:
        return;
      case LoadConnection::Event::ready:
        --connecting_;
        return on_ready(index);
      case LoadConnection::Event::answered:
        --busy_;
        return on_answer(index);
      case LoadConnection::Event::broken:
        if (was_idle)
          ++totals_.reopened;
        else
          ++totals_.errors;
        if (was_busy) note_failure();
        if (was_busy) --busy_;
        if (!was_idle && !was_busy) --connecting_;
        if (holding_)
          connections_[index].reset();
        else
          reopen(index);
    }
  }

  void on_ready(size_t index) {
    if (options_.mode == Mode::idle)
      send(index, now_ns());
    else
      idle_.push_back(index);
  }

  void on_answer(size_t index) {
    LoadConnection& connection = *connections_[index];
    ++totals_.requests;
    totals_.bytes += connection.bytes();
    if (connection.status() < 200 || connection.status() > 299) {
      ++totals_.non_2xx;
      note_failure();
    }
    totals_.latencies_us.push_back(static_cast<uint32_t>((now_ns() - connection.due_ns) / 1000));
    if (options_.mode == Mode::idle) {
      if (connection.must_close()) ++totals_.errors;  // it was to be kept
    } else if (options_.close || connection.must_close()) {
      reopen(index);
    } else {
      idle_.push_back(index);
    }
  }

  void note_failure() {
    if (options_.failures) totals_.failed_at.push_back(wall_s());
  }

  // --- the end ---------------------------------------------------------------
  void hold() {
    holding_ = true;
    std::printf("{\"open\": %zu, \"errors\": %lu}\n", connections_.size(), totals_.errors);
    std::fflush(stdout);
    std::array<pollfd, 2> watched = {{{STDIN_FILENO, POLLIN, 0}, {epoll_, POLLIN, 0}}};
    char ignored[64];
    for (;;) {
      poll(watched.data(), watched.size(), -1);
      if (watched[1].revents != 0) wait(0);
      if (watched[0].revents != 0 && read(STDIN_FILENO, ignored, sizeof(ignored)) <= 0) break;
    }
  }

  double quantile_us(double q) const {
    const auto& all = totals_.latencies_us;
    if (all.empty()) return 0;
    const auto rank = static_cast<size_t>(q * static_cast<double>(all.size()));
    return all[std::min(rank, all.size() - 1)];
  }

  void print() {
    std::sort(totals_.latencies_us.begin(), totals_.latencies_us.end());
    const auto open = std::count_if(connections_.begin(), connections_.end(),
                                    [](const auto& connection) { return connection != nullptr; });
    const double seconds = static_cast<double>(now_ns() - start_ns_) / 1e9;
    std::printf(
        "{\"requests\": %lu, \"non_2xx\": %lu, \"errors\": %lu, \"reopened\": %lu, \"open\": %ld, "
        "\"bytes\": %lu, \"seconds\": %.3f, \"p50_us\": %.0f, \"p90_us\": %.0f, \"p99_us\": %.0f, "
        "\"p999_us\": %.0f, \"max_us\": %.0f",
        totals_.requests, totals_.non_2xx, totals_.errors, totals_.reopened, open, totals_.bytes, seconds,
        quantile_us(0.5), quantile_us(0.9), quantile_us(0.99), quantile_us(0.999), quantile_us(1));
    if (options_.failures) {
      std::printf(", \"failed_at\": [");
      const char* comma = "";
      for (const double at : totals_.failed_at) std::printf("%s%.3f", std::exchange(comma, ", "), at);
      std::printf("]");
    }
    std::printf("}\n");
  }

  const Options options_;
  const int epoll_;
  std::vector<std::unique_ptr<LoadConnection>> connections_;
  std::deque<size_t> to_open_;
  std::deque<size_t> idle_;  // in turn, so that all are used alike
  size_t connecting_ = 0;
  size_t busy_ = 0;                     // a request is under way
  uint64_t next_ = 0;                   // the number of the next request
  std::vector<uint64_t> due_after_ns_;  // in rate mode: from the start, of each request
  uint64_t start_ns_ = 0;
  uint64_t end_ns_ = kForever;
  bool holding_ = false;
  Totals totals_;
  std::array<epoll_event, kEventsAtOnce> events_ = {};
  std::vector<char> scratch_ = std::vector<char>(kScratchBytes);
};

std::shared_ptr<SSL_CTX> make_tls() {
  std::shared_ptr<SSL_CTX> tls(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (tls == nullptr) die("SSL_CTX_new");
  SSL_CTX_set_min_proto_version(tls.get(), TLS1_3_VERSION);
  SSL_CTX_set_session_cache_mode(tls.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_verify(tls.get(), SSL_VERIFY_NONE, nullptr);
  return tls;
}

Options parse_options(int argc, char** argv) {
  if (argc < 4)
    die("usage: bench_load rate|closed|idle ADDRESS PATH [--connections N] [--seconds S] [--rate R] "
        "[--random SEED] [--close] [--tls] [--failures]");
  Options options;
  const std::string mode = argv[1];
  if (mode != "rate" && mode != "closed" && mode != "idle") die("unknown mode " + mode);
  options.mode = mode == "rate" ? Mode::rate : mode == "closed" ? Mode::closed : Mode::idle;
  options.address = parse_address(argv[2]);
  for (int i = 4; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--close") {
      options.close = true;
    } else if (flag == "--failures") {
      options.failures = true;
    } else if (flag == "--tls") {
      options.tls = make_tls();
    } else if (i + 1 == argc) {
      die("unknown flag " + flag);
    } else if (flag == "--connections") {
      options.connections = std::strtoull(argv[++i], nullptr, 10);
    } else if (flag == "--seconds") {
      options.seconds = std::strtod(argv[++i], nullptr);
    } else if (flag == "--rate") {
      options.rate = std::strtod(argv[++i], nullptr);
    } else if (flag == "--random") {
      options.seed = std::strtoull(argv[++i], nullptr, 10);
    } else {
      die("unknown flag " + flag);
    }
  }
  options.request = std::string("GET ") + argv[3] + " HTTP/1.1\r\nHost: bench.example\r\n" +
                    (options.close ? "Connection: close\r\n" : "") + "\r\n";
  return options;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_TIMERSLACK, 1);  // wake when a request is due, not 50 us later
  sluice::bench::raise_descriptor_limit();
  sluice::bench::Load(sluice::bench::parse_options(argc, argv)).run();
  return 0;
}
