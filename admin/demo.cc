#include "admin/demo.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "admin/demo_origin.h"
#include "admin/demo_traffic.h"
#include "admin/demo_view.h"
#include "admin/screen.h"
#include "proxy/loop.h"
#include "proxy/uv_stream.h"

namespace sluice::admin {
namespace {

using nlohmann::json;

// One command to the admin socket and its JSON answer; deletes itself.
class AdminCall final : public proxy::Stream::Handler {
 public:
  using Done = std::function<void(const json&)>;  // a discarded value: no answer

  static void start(proxy::Loop& loop, const std::string& socket, const std::string& command, Done done) {
    new AdminCall(loop, socket, command, std::move(done));
  }

  void on_connected(int error) override {
    if (error != 0) {
      stream_->close();
      return;
    }
    stream_->start_reading();
    const iovec slice{line_.data(), line_.size()};
    stream_->write(&slice, 1);
  }
  void on_read(char* data, size_t size) override { reply_.append(data, size); }
  void on_read_end() override { stream_->close(); }
  void on_stream_error(int) override { stream_->close(); }
  void on_drained() override {}
  void on_stream_closed() override {
    done_(json::parse(reply_, nullptr, false));
    delete this;
  }

 private:
  AdminCall(proxy::Loop& loop, const std::string& socket, const std::string& command, Done done)
      : stream_(std::make_unique<proxy::UvStream>(loop, proxy::UvStream::Kind::unix_socket)),
        line_("json " + command + "\n"),
        done_(std::move(done)) {
    conf::Address address;
    address.kind = conf::Address::Kind::unix_socket;
    address.host = socket;
    stream_->set_handler(this);
    stream_->connect(address);
  }

  std::unique_ptr<proxy::UvStream> stream_;
  std::string line_;
  std::string reply_;
  Done done_;
};

// One part of the script. It lasts so long, or until what it waits for is there.
struct Scene {
  enum class Until : uint8_t { time, half, trip };
  uint64_t lasts_ms;
  const char* text;
  const char* command;  // to the admin socket; empty: none
  double green_errors;  // share of green's answers that fail
  Until until;
};
using Until = Scene::Until;

constexpr Scene kScript[] = {
    {2500, "Blue serves everything.", "", 0, Until::time},
    {2500, "By hand: green gets 10 %.", "set weight web green=10", 0, Until::time},
    {2500, "By hand: green gets 50 %.", "set weight web green=50", 0, Until::time},
    {2500, "By hand: green serves everything.", "set weight web green=100", 0, Until::time},
    {2500, "By hand: back to blue.", "set weight web green=0", 0, Until::time},
    {30000, "A rollout of a new candidate: 10, 50, 100 %, each step judged before the next.",
     "rollout start web", 0, Until::half},
    {15000, "At 50 % the candidate goes bad: every fifth answer is an error.", "", 0.2, Until::trip},
    {2500, "sluice has put everything back on blue by itself.", "", 0.2, Until::time},
};

// A terminal that knows how to move its cursor; else each picture follows the
// one before.
bool has_screen() {
  const char* const kind = std::getenv("TERM");
  return isatty(STDOUT_FILENO) == 1 && kind != nullptr && std::string_view(kind) != "dumb";
}

class Demo {
 public:
  explicit Demo(const DemoOptions& options)
      : options_(options),
        loop_(proxy::Loop::random_seed()),
        blue_(loop_, "blue"),
        green_(loop_, "green"),
        view_(has_screen(), has_screen() && wants_colours()),
        draw_timer_([](void* self) { static_cast<Demo*>(self)->draw(); }, this),
        scene_timer_([](void* self) { static_cast<Demo*>(self)->next_scene(); }, this),
        poll_timer_([](void* self) { static_cast<Demo*>(self)->poll(); }, this) {}

  int run();

 private:
  static constexpr uint64_t kDrawMs = 1000;
  static constexpr uint64_t kPollMs = 100;
  static constexpr uint32_t kRequestsPerSecond = 400;

  bool prepare();
  bool start_proxy();
  void poll();
  void see(const json& split, const json& events);
  void proxy_is_up(const json& info);
  void next_scene();
  void draw();
  void end(const std::string& closing, int code);
  void close_handles();
  void close_signals();
  void interrupted(int signal);

  const DemoOptions options_;
  proxy::Loop loop_;
  DemoOrigin blue_;
  DemoOrigin green_;
  std::unique_ptr<DemoTraffic> traffic_;
  DemoView view_;
  std::string folder_;
  std::string socket_;
  uv_process_t child_{};
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
  uv_signal_t signals_[std::size(kSignals)]{};
  bool child_runs_ = false;
  proxy::Timer draw_timer_;
  proxy::Timer scene_timer_;
  proxy::Timer poll_timer_;
  size_t scene_ = 0;  // one past the current
  bool started_ = false;
  bool ending_ = false;
  bool saw_trip_ = false;
  int code_ = 1;
  std::string closing_;
  DemoPicture picture_;
  DemoTraffic::Counts counted_;
  uint64_t drawn_us_ = 0;
};

bool Demo::prepare() {
  if (access(options_.program.c_str(), X_OK) != 0) {
    std::fprintf(stderr, "sluice demo: it starts itself anew by %s, which is not there: is /proc mounted?\n",
                 options_.program.c_str());
    return false;
  }
  std::error_code missing;
  const std::filesystem::path place = std::filesystem::temp_directory_path(missing);
  std::string pattern = (place / "sluice-demo-XXXXXX").string();
  if (missing || mkdtemp(pattern.data()) == nullptr) {
    std::fprintf(stderr, "sluice demo: no temporary folder (TMPDIR names another place): %s\n",
                 missing ? missing.message().c_str() : std::strerror(errno));
    return false;
  }
  folder_ = pattern;
  socket_ = folder_ + "/admin.sock";
  for (DemoOrigin* const origin : {&blue_, &green_}) {
    if (const conf::Status status = origin->listen(); !status.ok()) {
      std::fprintf(stderr, "sluice demo: %s\n", status.error().detail.c_str());
      return false;
    }
  }
  std::ofstream file(folder_ + "/sluice.toml");
  file
      << "drain_timeout = \"1s\"\n\n[admin]\nsocket = \"" << socket_ << "\"\n\n[log]\nlevel = \"error\"\n\n"
      << "[[listener]]\nbind = \"127.0.0.1:0\"\n\n[service.web]\nrescue = true\n\n"
      << "[service.web.blue]\nendpoints = [\"127.0.0.1:" << blue_.port() << "\"]\n\n"
      << "[service.web.green]\nendpoints = [\"127.0.0.1:" << green_.port() << "\"]\n\n"
      << "[service.web.rollout]\nsteps = [10, 50, 100]\nhold = \"2s\"\nmin_requests = 50\nmax_latency_ratio = 100\n";
  return static_cast<bool>(file.flush());
}

bool Demo::start_proxy() {
  std::string config = folder_ + "/sluice.toml";
  std::string program = options_.program;
  std::string verb = "run";
  std::string flag = "-c";
  char* arguments[] = {program.data(), verb.data(), flag.data(), config.data(), nullptr};
  uv_stdio_container_t stdio[3] = {};
  stdio[0].flags = UV_IGNORE;
  stdio[1].flags = UV_IGNORE;
  stdio[2].flags = UV_INHERIT_FD;
  stdio[2].data.fd = STDERR_FILENO;
  uv_process_options_t process{};
  process.file = program.c_str();
  process.args = arguments;
  process.stdio = stdio;
  process.stdio_count = 3;
  process.exit_cb = [](uv_process_t* handle, int64_t status, int) {
    auto& self = *static_cast<Demo*>(handle->data);
    const proxy::Loop::Scope scope(self.loop_);
    self.child_runs_ = false;
    uv_close(reinterpret_cast<uv_handle_t*>(handle), nullptr);
    if (self.ending_) self.close_signals();
    self.end(fmt::format("The proxy ended too early, with code {}.", status), 1);
  };
  child_.data = this;
  const int error = uv_spawn(loop_.uv(), &child_, &process);
  if (error != 0) {
    std::fprintf(stderr, "sluice demo: cannot start %s: %s\n", program.c_str(), uv_strerror(error));
    return false;
  }
  child_runs_ = true;
  return true;
}

// Asks the proxy what it is doing: first whether it is there, then the split.
void Demo::poll() {
  if (ending_) return;
  loop_.arm(poll_timer_, kPollMs);
  if (!started_) {
    AdminCall::start(loop_, socket_, "show info", [this](const json& reply) { proxy_is_up(reply); });
    return;
  }
  AdminCall::start(loop_, socket_, "show split", [this](const json& split) {
    if (ending_) return;
    AdminCall::start(loop_, socket_, "show events",
                     [this, split](const json& events) { see(split, events); });
  });
}

void Demo::proxy_is_up(const json& info) {
  if (started_ || ending_ || !info.is_object() || !info.value("ok", false)) return;
  started_ = true;
  const std::string address = info["info"][0]["listeners"][0]["address"];
  conf::Address proxy;
  proxy.host = "127.0.0.1";
  proxy.port = static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  traffic_ = std::make_unique<DemoTraffic>(loop_, proxy, kRequestsPerSecond);
  traffic_->start();
  drawn_us_ = loop_.now_us();
  loop_.arm(draw_timer_, kDrawMs);
  next_scene();
}

void Demo::see(const json& split, const json& events) {
  if (ending_ || !split.is_object() || !split.value("ok", false)) return;
  picture_.split = split["split"][0]["green"];
  if (!events.is_object() || !events.value("ok", false)) return;
  for (const json& event : events["events"]) {
    const std::string type = event.value("type", "");
    picture_.news = event.value("message", "");
    if (type == "tripped") picture_.tripped = saw_trip_ = true;
  }
  if (scene_ == 0) return;
  const Until until = kScript[scene_ - 1].until;
  if ((until == Until::trip && saw_trip_) || (until == Until::half && picture_.split >= 50)) next_scene();
}

void Demo::next_scene() {
  if (ending_) return;
  if (scene_ == std::size(kScript)) {
    end(saw_trip_ ? "Green failed and was taken out; clients were served by blue all the while."
                  : "Green failed and was not taken out: that is a bug.",
        saw_trip_ ? 0 : 1);
    return;
  }
  const Scene& scene = kScript[scene_++];
  picture_.scene = scene.text;
  green_.set_error_share(scene.green_errors);
  if (*scene.command != 0) AdminCall::start(loop_, socket_, scene.command, [](const json&) {});
  loop_.arm(scene_timer_, options_.fast && scene.until == Until::time ? scene.lasts_ms / 3 : scene.lasts_ms);
}

void Demo::draw() {
  if (ending_) return;
  loop_.arm(draw_timer_, options_.fast ? kDrawMs / 3 : kDrawMs);
  const DemoTraffic::Counts now = traffic_->counts();
  for (size_t i = 0; i < 2; ++i) {
    picture_.rates.answers[i] = now.answers[i] - counted_.answers[i];
    picture_.rates.errors[i] = now.errors[i] - counted_.errors[i];
  }
  picture_.rates.failures = now.failures - counted_.failures;
  picture_.seconds = static_cast<double>(loop_.now_us() - drawn_us_) / 1e6;
  counted_ = now;
  drawn_us_ = loop_.now_us();
  view_.draw(picture_);
}

void Demo::end(const std::string& closing, int code) {
  if (ending_) return;
  ending_ = true;
  code_ = code;
  closing_ = closing;
  if (child_runs_) uv_process_kill(&child_, SIGTERM);
  close_handles();
}

void Demo::close_handles() {
  draw_timer_.disarm();
  scene_timer_.disarm();
  poll_timer_.disarm();
  if (traffic_ != nullptr) traffic_->close();
  blue_.close();
  green_.close();
  if (!child_runs_) close_signals();
}

// Not before the proxy has ended: whoever is tired of waiting may say so.
void Demo::close_signals() {
  for (uv_signal_t& one : signals_) uv_close(reinterpret_cast<uv_handle_t*>(&one), nullptr);
}

void Demo::interrupted(int signal) {
  if (ending_ && child_runs_) uv_process_kill(&child_, SIGKILL);
  end("Interrupted.", 128 + signal);
}

int Demo::run() {
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    uv_signal_init(loop_.uv(), &signals_[i]);
    signals_[i].data = this;
    uv_signal_start(
        &signals_[i],
        [](uv_signal_t* handle, int number) {
          auto& self = *static_cast<Demo*>(handle->data);
          const proxy::Loop::Scope scope(self.loop_);
          self.interrupted(number);
        },
        kSignals[i]);
  }
  std::signal(SIGPIPE, SIG_IGN);
  {
    const proxy::Loop::Scope scope(loop_);
    if (prepare() && start_proxy()) {
      loop_.arm(poll_timer_, kPollMs);
    } else {
      end("", 1);
    }
  }
  loop_.run();  // until every handle is gone, the child's too
  loop_.close();
  if (!folder_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  if (!closing_.empty()) view_.finish(closing_);
  return code_;
}

}  // namespace

int run_demo(const DemoOptions& options) {
  return Demo(options).run();
}

}  // namespace sluice::admin
