#include "admin/demo_traffic.h"

#include <utility>

#include "proxy/h1_message.h"
#include "proxy/outbox.h"
#include "proxy/uv_stream.h"

namespace sluice::admin {

using proxy::CodecEvent;

// One kept-alive connection, opened again when it ends.
class DemoTraffic::Client final : public proxy::Stream::Handler {
 public:
  explicit Client(DemoTraffic& traffic) : traffic_(traffic), out_(traffic.loop_) {}

  void connect() {
    stream_ = std::make_unique<proxy::UvStream>(traffic_.loop_, proxy::UvStream::Kind::tcp);
    codec_ = std::make_unique<proxy::H1UpstreamCodec>(traffic_.workspace_);
    stream_->set_handler(this);
    out_.set_stream(stream_.get());
    stream_->connect(traffic_.proxy_);
  }
  bool idle() const { return connected_ && !busy_; }
  void ask() {
    busy_ = true;
    codec_->write_request(out_, 0, traffic_.request_, {}, "demo");
    codec_->write_end(out_, 0, nullptr);
  }
  void close() {
    if (stream_ != nullptr) stream_->close();
  }

  void on_connected(int error) override {
    if (error != 0) {
      close();
      return;
    }
    connected_ = true;
    stream_->start_reading();
  }
  void on_read(char* data, size_t size) override {
    proxy::Input input{data, size};
    for (;;) {
      switch (codec_->next(input).kind) {
        case CodecEvent::Kind::head:
          count(codec_->response());
          break;
        case CodecEvent::Kind::data:
          break;
        case CodecEvent::Kind::end:
          busy_ = false;
          if (!codec_->reusable()) close();
          return;
        case CodecEvent::Kind::bad:
          ++traffic_.counts_.failures;
          close();
          return;
        case CodecEvent::Kind::more:
          return;
      }
    }
  }
  void on_read_end() override { end(); }
  void on_stream_error(int) override { end(); }
  void on_drained() override {}
  void on_stream_closed() override {
    stream_.reset();
    connected_ = busy_ = false;
    if (!traffic_.closing_) connect();
  }

 private:
  void end() {
    if (busy_) ++traffic_.counts_.failures;
    close();
  }
  void count(const proxy::ResponseHead& head) {
    const proxy::Field* const field = head.fields.find("x-demo-colour");
    if (field == nullptr) {
      ++traffic_.counts_.failures;
      return;
    }
    const size_t colour = head.fields.value(*field) == "green" ? 1 : 0;
    ++traffic_.counts_.answers[colour];
    if (head.status >= 500) ++traffic_.counts_.errors[colour];
  }

  DemoTraffic& traffic_;
  proxy::Outbox out_;
  std::unique_ptr<proxy::UvStream> stream_;
  std::unique_ptr<proxy::H1UpstreamCodec> codec_;
  bool connected_ = false;
  bool busy_ = false;
};

DemoTraffic::DemoTraffic(proxy::Loop& loop, const conf::Address& proxy, uint32_t requests_per_second)
    : loop_(loop),
      proxy_(proxy),
      rate_(requests_per_second),
      request_text_("GET /demo HTTP/1.1\r\nHost: demo\r\n\r\n"),
      timer_([](void* self) { static_cast<DemoTraffic*>(self)->tick(); }, this) {
  proxy::H1Persistence persistence;
  proxy::parse_request({request_text_.data(), request_text_.size()}, request_text_.find('\r'), request_,
                       persistence);
}

DemoTraffic::~DemoTraffic() = default;

void DemoTraffic::start() {
  for (size_t i = 0; i < kClients; ++i) {
    clients_.push_back(std::make_unique<Client>(*this));
    clients_.back()->connect();
  }
  loop_.arm(timer_, kTickMs);
}

void DemoTraffic::tick() {
  loop_.arm(timer_, kTickMs);
  owed_ += rate_ * static_cast<double>(kTickMs) / 1000;
  for (size_t tried = 0; owed_ >= 1 && tried < clients_.size(); ++tried) {
    Client& one = *clients_[next_++ % clients_.size()];
    if (!one.idle()) continue;
    one.ask();
    owed_ -= 1;
  }
  // What could not be asked in time is not made up for later.
  if (owed_ > static_cast<double>(kClients)) owed_ = kClients;
}

void DemoTraffic::close() {
  closing_ = true;
  timer_.disarm();
  for (const auto& client : clients_) client->close();
}

}  // namespace sluice::admin
