// ProxyProtocolStream: a Stream whose peer first says, in a PROXY header
// (proxy/proxy_protocol.h), whose connection it passes on.
//
//   socket --> ProxyProtocolStream --> TLS, where there is any --> connection
//
// The header is taken out of what is read and told to `on_source`, once, before
// the handler gets any octet; after it everything passes as it is. A wrong
// header is told to the handler as a broken stream (UV_EPROTO). How long it may
// take is the handler's business, whose own deadline for the first octets runs
// meanwhile.
//
// Owner: whoever has the stream; it owns the one below. Thread: the loop's.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "proxy/proxy_protocol.h"
#include "proxy/stream.h"

namespace sluice::proxy {

class ProxyProtocolStream final : public Stream, public Stream::Handler {
 public:
  using OnSource = std::function<void(const ClientAddress&)>;

  explicit ProxyProtocolStream(std::unique_ptr<Stream> below);

  // Not called where the header names no source.
  void on_source(OnSource told) { on_source_ = std::move(told); }

  void start_reading() override { below_->start_reading(); }
  void stop_reading() override { below_->stop_reading(); }
  void write(const iovec* slices, int count) override { below_->write(slices, count); }
  size_t pending() const override { return below_->pending(); }
  void hold_for_end() override { below_->hold_for_end(); }
  void shutdown_write() override { below_->shutdown_write(); }
  void close() override { below_->close(); }
  void reset() override { below_->reset(); }
  FarEnd far_end() const override { return below_->far_end(); }

  void on_read(char* data, size_t size) override;
  void on_read_end() override { handler_->on_read_end(); }
  void on_stream_error(int error) override { handler_->on_stream_error(error); }
  void on_drained() override { handler_->on_drained(); }
  void on_stream_closed() override { handler_->on_stream_closed(); }

 private:
  const std::unique_ptr<Stream> below_;
  OnSource on_source_;
  std::string header_;  // what came of it in earlier reads
  bool greeted_ = false;
};

}  // namespace sluice::proxy
