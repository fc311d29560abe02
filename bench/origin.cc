// origin: an HTTP/1.1 server that is never what limits a benchmark.
//
//   origin [--name NAME] [--delay-ms N] [--fail P] [--seed N] --listen ADDRESS ...
//
// The flags apply to the --listen after them, so that one process can play
// several origins: --name blue --listen 127.0.0.1:0 --name green --fail 0.1
// --listen unix:/tmp/green.sock. For each it prints "listening ADDRESS", in
// order.
//
//   GET .../1k  .../64k  .../1m   a body of that size, from any folder
//   GET .../echo                  the request head as it arrived
//   GET anything else             "ok"
//   POST, PUT                     reads a body (Content-Length or chunked) to
//                                 its end and says "ok"
//   ?delay_ms=N  ?fail=P          answer after N ms; with probability P answer
//                                 500 (seeded, so a run can be repeated)
//   --name NAME                   adds "X-Origin: NAME" to every answer
//   --database N                  all that follow share N connections of a
//                                 database (database.h); from then on each
//                                 instance has --processes N of --each N
//                                 connections, --open N of them from the
//                                 start, and a request holds one for
//                                 --hold-ms N in the mean (exponential)
//
// One thread, edge-triggered epoll, one read buffer for all connections.
// Pipelined requests are answered in order, with one writev for all that came
// in one read. Answers are built once for each (status, size) and shared.
#include <sys/epoll.h>
#include <sys/uio.h>

#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <deque>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bench/database.h"
#include "bench/message.h"
#include "bench/net.h"

namespace sluice::bench {
namespace {

constexpr size_t kBufferBytes = 256 * 1024;  // also the longest head
constexpr size_t kBlockBytes = 1024 * 1024;  // bodies are made of this one block
constexpr size_t kMaxBodyBytes = 1024 * kBlockBytes;
constexpr size_t kMaxQueuedPieces = 512;  // per connection, then reading stops
constexpr int kPiecesAtOnce = 64;         // in one writev
constexpr int kEventsAtOnce = 256;

uint64_t now_ms() {
  using namespace std::chrono;
  return static_cast<uint64_t>(duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count());
}

// splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
// generators", 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  double unit() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_;
};

// What one --listen was given; lives as long as the process.
struct Instance {
  std::string name;
  uint64_t delay_ms = 0;
  double fail = 0;
  Random random{1};
  double hold_ms = 0;
  std::shared_ptr<Processes> processes;  // null: no database
  int listener = -1;
  std::unordered_map<uint64_t, std::string> heads;  // by status, size and close
};

struct Request {
  std::string_view head;
  std::string_view path;   // without the query
  std::string_view query;  // without the "?"
  bool is_get = false;
  bool is_head = false;
  Framing framing;
};

struct Connection {
  enum class State : uint8_t { head, body, delayed };

  int fd = -1;
  Instance* instance = nullptr;
  State state = State::head;
  bool readable = false;
  bool hangup_seen = false;
  bool close_when_sent = false;
  bool dead = false;
  BodyReader body;
  std::string unread;  // came in, not looked at yet
  // The answer to the request whose body is being read or which is delayed.
  int status = 200;
  uint64_t answer_bytes = 0;
  bool answer_without_body = false;
  bool answer_closes = false;
  std::string echo;
  uint64_t delay_ms = 0;
  int process = Processes::kNone;  // that holds a connection for the answer
  // Pieces of immortal memory, or of `owned`, on their way out.
  std::vector<iovec> pieces;
  size_t pieces_sent = 0;
  std::deque<std::string> owned;
};

std::string_view parameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.size() > name.size() && pair.substr(0, name.size()) == name && pair[name.size()] == '=') {
      return pair.substr(name.size() + 1);
    }
  }
  return {};
}

Request parse_request(std::string_view head) {
  Request request;
  request.head = head;
  const std::string_view line = head.substr(0, head.find('\r'));
  const size_t method_end = std::min(line.find(' '), line.size());
  const size_t target_at = std::min(method_end + 1, line.size());
  const std::string_view target = line.substr(target_at, line.rfind(' ') - target_at);
  const size_t mark = std::min(target.find('?'), target.size());
  request.path = target.substr(0, mark);
  if (mark < target.size()) request.query = target.substr(mark + 1);
  request.is_head = line.substr(0, method_end) == "HEAD";
  request.is_get = request.is_head || line.substr(0, method_end) == "GET";
  request.framing = read_framing(head);
  return request;
}

// The size that the last segment of a path names ("/a/64k"); 0: none.
uint64_t size_in_path(std::string_view path) {
  const std::string_view segment = path.substr(path.rfind('/') + 1);
  uint64_t size = 0;
  size_t at = 0;
  for (; at < segment.size() && segment[at] >= '0' && segment[at] <= '9' && size < kMaxBodyBytes; ++at) {
    size = size * 10 + static_cast<uint64_t>(segment[at] - '0');
  }
  if (at == 0 || at + 1 != segment.size()) return 0;
  size *= segment[at] == 'k' ? 1024 : segment[at] == 'm' ? 1024 * 1024 : 0;
  return std::min<uint64_t>(size, kMaxBodyBytes);
}

class Origin {
 public:
  explicit Origin(std::vector<std::unique_ptr<Instance>> instances)
      : instances_(std::move(instances)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) die("epoll_create1", true);
    for (size_t i = 0; i < block_.size(); ++i) block_[i] = static_cast<char>('a' + i % 26);
    for (auto& instance : instances_) watch(instance->listener, EPOLLIN, instance.get());
  }

  [[noreturn]] void run() {
    std::array<epoll_event, kEventsAtOnce> events;
    for (;;) {
      const int count = epoll_wait(epoll_, events.data(), kEventsAtOnce, wait_ms());
      // First what is due, so that what comes finds the connections it held.
      answer_delayed();
      for (int i = 0; i < count; ++i) dispatch(events[static_cast<size_t>(i)]);
      dead_.clear();
    }
  }

 private:
  // An event's pointer is an Instance (its listener) or a Connection; the
  // lowest bit, which alignment leaves free, marks the latter.
  void watch(int fd, uint32_t events, void* tagged) const {
    epoll_event event = {};
    event.events = events;
    event.data.ptr = tagged;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl", true);
  }

  void dispatch(const epoll_event& event) {
    const auto tagged = reinterpret_cast<uintptr_t>(event.data.ptr);
    if ((tagged & 1) == 0) {
      accept_all(*static_cast<Instance*>(event.data.ptr));
      return;
    }
    auto& connection = *reinterpret_cast<Connection*>(tagged & ~uintptr_t{1});
    if (connection.dead) return;
    if (event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) connection.hangup_seen = true;
    if (event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) connection.readable = true;
    advance(connection);
  }

  void accept_all(Instance& instance) {
    for (;;) {
      const int fd = accept4(instance.listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      set_no_delay(fd);
      auto* connection = new Connection;  // owned by its registration; end() takes it back
      connection->fd = fd;
      connection->instance = &instance;
      watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
            reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(connection) | 1));
    }
  }

  // Sends and reads until neither goes on.
  void advance(Connection& connection) {
    for (;;) {
      if (!flush(connection)) return end(connection);
      const bool sent = connection.pieces.empty();
      if (connection.close_when_sent) {
        if (sent) end(connection);
        return;
      }
      if (connection.state == Connection::State::delayed || !connection.readable) return;
      if (connection.pieces.size() - connection.pieces_sent > kMaxQueuedPieces) return;
      if (!receive(connection)) return end(connection);
    }
  }

  // One read, and what follows from it. False: the connection is over.
  bool receive(Connection& connection) {
    const size_t kept = connection.unread.size();
    if (kept >= buffer_.size()) return false;
    std::memcpy(buffer_.data(), connection.unread.data(), kept);
    connection.unread.clear();
    const ssize_t n = read(connection.fd, buffer_.data() + kept, buffer_.size() - kept);
    if (n < 0 && !would_block()) return false;
    if (n == 0) connection.close_when_sent = true;
    const size_t got = n < 0 ? 0 : static_cast<size_t>(n);
    if (n < 0 || (got < buffer_.size() - kept && !connection.hangup_seen)) connection.readable = false;
    const size_t size = kept + got;
    const size_t used = consume(connection, buffer_.data(), size);
    connection.unread.assign(buffer_.data() + used, size - used);
    return true;
  }

  // Answers the whole requests among these bytes; says how many it used.
  size_t consume(Connection& connection, const char* data, size_t size) {
    size_t at = 0;
    while (at < size && !connection.close_when_sent) {
      if (connection.state == Connection::State::delayed) break;
      if (connection.state == Connection::State::head) {
        const size_t end = std::string_view(data + at, size - at).find("\r\n\r\n");
        if (end == std::string_view::npos) break;
        begin(connection, parse_request({data + at, end + 4}));
        at += end + 4;
      } else {
        at += connection.body.consume(data + at, size - at);
        if (connection.body.done()) body_ended(connection);
      }
    }
    return at;
  }

  void begin(Connection& connection, const Request& request) {
    Instance& instance = *connection.instance;
    const std::string_view delay = parameter(request.query, "delay_ms");
    const std::string_view fail = parameter(request.query, "fail");
    const double fail_rate = fail.empty() ? instance.fail : std::strtod(std::string(fail).c_str(), nullptr);
    connection.delay_ms =
        delay.empty() ? instance.delay_ms : std::strtoull(std::string(delay).c_str(), nullptr, 10);
    connection.status = fail_rate > 0 && instance.random.unit() < fail_rate ? 500 : 200;
    connection.answer_bytes = request.is_get && connection.status == 200 ? size_in_path(request.path) : 0;
    connection.answer_without_body = request.is_head;
    connection.answer_closes = request.framing.close;
    const bool echoes = request.is_get && request.path.substr(request.path.rfind('/') + 1) == "echo";
    if (echoes) connection.echo = request.head;
    if (request.framing.expects_continue) queue(connection, kContinue.data(), kContinue.size());
    connection.state = Connection::State::body;
    if (request.framing.chunked)
      connection.body.start_chunked();
    else
      connection.body.start_fixed(request.framing.length);
    if (connection.body.done()) body_ended(connection);
  }

  void body_ended(Connection& connection) {
    Instance& instance = *connection.instance;
    if (instance.processes != nullptr && connection.status == 200) {
      connection.process = instance.processes->take();
      if (connection.process == Processes::kNone) {
        connection.status = 500;
      } else {
        connection.delay_ms =
            1 + static_cast<uint64_t>(-std::log1p(-instance.random.unit()) * instance.hold_ms);
      }
    }
    if (connection.delay_ms == 0) return answer(connection);
    connection.state = Connection::State::delayed;
    delayed_.push({now_ms() + connection.delay_ms, &connection});
  }

  void answer(Connection& connection) {
    connection.state = Connection::State::head;
    if (!connection.echo.empty()) {
      connection.owned.push_back(make_head(connection, connection.echo.size()) + connection.echo);
      connection.echo.clear();
      queue(connection, connection.owned.back().data(), connection.owned.back().size());
    } else {
      const std::string& head = shared_head(connection);
      queue(connection, head.data(), head.size());
      if (!connection.answer_without_body) {
        for (uint64_t left = connection.answer_bytes; left > 0;) {
          const auto take = static_cast<size_t>(std::min<uint64_t>(left, block_.size()));
          queue(connection, block_.data(), take);
          left -= take;
        }
      }
    }
    connection.close_when_sent = connection.answer_closes;
  }

  // Of an answer without a size, the head has the short body in it as well.
  const std::string& shared_head(Connection& connection) {
    const uint64_t key = connection.answer_bytes << 16 | static_cast<uint64_t>(connection.status) << 2 |
                         (connection.answer_closes ? 2 : 0) | (connection.answer_without_body ? 1 : 0);
    std::string& head = connection.instance->heads[key];
    if (!head.empty()) return head;
    if (connection.answer_bytes > 0) return head = make_head(connection, connection.answer_bytes);
    const std::string text = connection.status == 200 ? "ok\n" : "failed on purpose\n";
    head = make_head(connection, text.size());
    if (!connection.answer_without_body) head += text;
    return head;
  }

  static std::string make_head(const Connection& connection, uint64_t size) {
    std::string head =
        connection.status == 200 ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 500 Internal Server Error\r\n";
    head += "Content-Type: text/plain\r\nContent-Length: " + std::to_string(size) + "\r\n";
    if (!connection.instance->name.empty()) head += "X-Origin: " + connection.instance->name + "\r\n";
    if (connection.answer_closes) head += "Connection: close\r\n";
    return head + "\r\n";
  }

  static void queue(Connection& connection, const char* data, size_t size) {
    connection.pieces.push_back({const_cast<char*>(data), size});
  }

  // Sends what is queued, as far as it goes. False: the connection broke.
  static bool flush(Connection& connection) {
    auto& pieces = connection.pieces;
    while (connection.pieces_sent < pieces.size()) {
      iovec* first = &pieces[connection.pieces_sent];
      const auto count = std::min<size_t>(pieces.size() - connection.pieces_sent, kPiecesAtOnce);
      const ssize_t n = writev(connection.fd, first, static_cast<int>(count));
      if (n < 0) return would_block();
      auto left = static_cast<size_t>(n);
      while (left > 0 && left >= first->iov_len) {
        left -= first->iov_len;
        ++first;
        ++connection.pieces_sent;
      }
      if (left > 0) {
        first->iov_base = static_cast<char*>(first->iov_base) + left;
        first->iov_len -= left;
      }
    }
    pieces.clear();
    connection.pieces_sent = 0;
    connection.owned.clear();
    return true;
  }

  int wait_ms() const {
    if (delayed_.empty()) return -1;
    const uint64_t now = now_ms();
    return delayed_.top().due_ms <= now ? 0 : static_cast<int>(delayed_.top().due_ms - now);
  }

  void answer_delayed() {
    const uint64_t now = delayed_.empty() ? 0 : now_ms();
    while (!delayed_.empty() && delayed_.top().due_ms <= now) {
      Connection* connection = delayed_.top().connection;
      delayed_.pop();
      if (connection->process != Processes::kNone) {
        connection->instance->processes->give_back(std::exchange(connection->process, Processes::kNone));
      }
      if (connection->dead) {
        dead_.emplace_back(connection);
        continue;
      }
      answer(*connection);
      // What was pipelined behind it comes first; only then is more read.
      const std::string unread = std::move(connection->unread);
      connection->unread.clear();
      const size_t used = consume(*connection, unread.data(), unread.size());
      connection->unread = unread.substr(used);
      advance(*connection);
    }
  }

  // Events of it may still be in the batch, so it is destroyed after that; a
  // delayed one when its time comes, for it is still in the queue.
  void end(Connection& connection) {
    connection.dead = true;
    close(connection.fd);
    if (connection.state != Connection::State::delayed) dead_.emplace_back(&connection);
  }

  struct Delayed {
    uint64_t due_ms;
    Connection* connection;
    bool operator<(const Delayed& other) const { return due_ms > other.due_ms; }
  };
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

  const std::vector<std::unique_ptr<Instance>> instances_;
  const int epoll_;
  std::vector<char> buffer_ = std::vector<char>(kBufferBytes);
  std::vector<char> block_ = std::vector<char>(kBlockBytes);
  std::priority_queue<Delayed> delayed_;
  std::vector<std::unique_ptr<Connection>> dead_;
};

int run(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  std::vector<std::unique_ptr<Instance>> instances;
  Instance flags;
  uint64_t seed = 1;
  std::unique_ptr<Database> database;
  size_t processes = 1;
  size_t each = 1;
  size_t open = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const std::string value = argv[i + 1];
    if (flag == "--name") {
      flags.name = value;
    } else if (flag == "--delay-ms") {
      flags.delay_ms = std::strtoull(value.c_str(), nullptr, 10);
    } else if (flag == "--fail") {
      flags.fail = std::strtod(value.c_str(), nullptr);
    } else if (flag == "--database") {
      if (database != nullptr) die("there is one database");
      database = std::make_unique<Database>(std::strtoull(value.c_str(), nullptr, 10));
    } else if (flag == "--processes") {
      processes = std::max<size_t>(1, std::strtoull(value.c_str(), nullptr, 10));
    } else if (flag == "--each") {
      each = std::strtoull(value.c_str(), nullptr, 10);
    } else if (flag == "--open") {
      open = std::strtoull(value.c_str(), nullptr, 10);
    } else if (flag == "--hold-ms") {
      flags.hold_ms = std::strtod(value.c_str(), nullptr);
    } else if (flag == "--seed") {
      seed = std::strtoull(value.c_str(), nullptr, 10);
    } else if (flag == "--listen") {
      auto instance = std::make_unique<Instance>(flags);
      const SocketAddress address = parse_address(value);
      instance->random = Random(seed);
      if (database != nullptr)
        instance->processes = std::make_shared<Processes>(*database, processes, each, open);
      instance->listener = listen_on(address, value);
      std::printf("listening %s\n",
                  address.is_tcp() ? bound_address(instance->listener).c_str() : value.c_str());
      instances.push_back(std::move(instance));
    } else {
      die("unknown flag " + flag);
    }
  }
  if (instances.empty())
    die("usage: origin [--name NAME] [--delay-ms N] [--fail P] [--seed N] --listen ADDRESS ...");
  std::fflush(stdout);
  Origin(std::move(instances)).run();
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  return sluice::bench::run(argc, argv);
}
