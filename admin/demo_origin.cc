#include "admin/demo_origin.h"

#include <utility>

#include "proxy/listen_socket.h"
#include "proxy/outbox.h"
#include "proxy/uv_stream.h"

namespace sluice::admin {

using proxy::CodecEvent;

// One client; deletes itself when its stream has closed.
class DemoOrigin::Connection final : public proxy::Stream::Handler {
 public:
  Connection(DemoOrigin& origin, std::unique_ptr<proxy::UvStream> stream)
      : origin_(origin), stream_(std::move(stream)), codec_(origin.workspace_), out_(origin.loop_) {
    stream_->set_handler(this);
    out_.set_stream(stream_.get());
    stream_->start_reading();
  }
  void close() { stream_->close(); }

  void on_read(char* data, size_t size) override {
    // The demo's own proxy sends heads without bodies, each in one piece.
    proxy::Input input{data, size};
    for (;;) {
      switch (codec_.next(input, conf::Limits{}).kind) {
        case CodecEvent::Kind::head:
          break;
        case CodecEvent::Kind::data:
          break;
        case CodecEvent::Kind::end:
          answer();
          break;
        case CodecEvent::Kind::bad:
          close();
          return;
        case CodecEvent::Kind::more:
          return;
      }
    }
  }
  void on_read_end() override { close(); }
  void on_stream_error(int) override { close(); }
  void on_drained() override {}
  void on_stream_closed() override {
    origin_.connections_.erase(this);
    delete this;
  }

 private:
  void answer() {
    const bool fail = origin_.loop_.random().unit() < origin_.error_share_;
    proxy::AddedFields added;
    added.add("X-Demo-Colour", origin_.colour_);
    codec_.write_reply(out_, 0, fail ? 500 : 200, added, "text/plain", origin_.colour_ + "\n", false, false);
    codec_.finish_exchange(0);
  }

  DemoOrigin& origin_;
  std::unique_ptr<proxy::UvStream> stream_;
  proxy::H1DownstreamCodec codec_;
  proxy::Outbox out_;
};

DemoOrigin::DemoOrigin(proxy::Loop& loop, std::string colour)
    : loop_(loop),
      colour_(std::move(colour)),
      socket_(loop, [this] { socket_.accept_some([this](int client) { begin(client); }); }) {}

DemoOrigin::~DemoOrigin() = default;

conf::Status DemoOrigin::listen() {
  conf::Address address;
  address.host = "127.0.0.1";
  conf::Result<proxy::ListenSockets> sockets = proxy::open_listen_sockets(address, 1);
  if (!sockets.ok()) return sockets.error();
  port_ = sockets->address.port;
  socket_.adopt(sockets->fds.front());
  socket_.begin();
  return conf::Done{};
}

void DemoOrigin::begin(int client) {
  auto stream = proxy::UvStream::of_accepted(loop_, proxy::UvStream::Kind::tcp, client);
  if (stream != nullptr) connections_.insert(new Connection(*this, std::move(stream)));
}

void DemoOrigin::close() {
  socket_.close();  // first: whoever is cut off may try again
  for (Connection* const one : connections_) one->close();
}

}  // namespace sluice::admin
