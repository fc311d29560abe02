// A server and a client of TLS that talk to each other over two fake streams.
//
//   client TlsStream ─ FakeStream ─ Peer  <carry()>  Peer ─ FakeStream ─ server TlsStream
//
// carry() takes what one side wrote to the other in pieces of random sizes; the
// test decides when, so it may also break, cut or change what is on its way.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "certificates.h"
#include "fake_stream.h"
#include "proxy/tls_session.h"
#include "proxy/tls_stream.h"

namespace sluice::proxy::test {

std::shared_ptr<const TlsServerContext> server_context(const conf::TlsServer& settings,
                                                       std::shared_ptr<const TicketKeys> tickets = nullptr,
                                                       std::shared_ptr<TlsCounters> counters = nullptr,
                                                       const std::string& name = "listener");
std::shared_ptr<const TlsClientContext> client_context(const conf::TlsClient& settings);

// What a stream told its handler.
struct Heard final : Stream::Handler {
  void on_connected(int error) override {
    ++connected;
    connect_error = error;
  }
  void on_read(char* data, size_t size) override {
    ++reads;
    text.append(data, size);
    news_at_read = (*stream)->has_news();
    if (!answer.empty()) {
      const iovec slice{answer.data(), answer.size()};
      (*stream)->write(&slice, 1);
    }
    if (pause_after_read) (*stream)->stop_reading();
  }
  void on_read_end() override { ended = true; }
  void on_stream_error(int error) override { stream_error = error; }
  void on_drained() override { ++drained; }
  void on_stream_closed() override {
    ++closed;
    stream->reset();
  }

  std::unique_ptr<TlsStream>* stream = nullptr;  // destroyed when it has closed
  bool pause_after_read = false;
  std::string answer;  // to each read, on the spot
  std::string text;
  int connected = 0;
  int connect_error = 0;
  int stream_error = 0;
  int drained = 0;
  int closed = 0;
  int reads = 0;
  bool ended = false;
  bool news_at_read = false;  // at the latest
  bool broken() const { return connect_error != 0 || stream_error != 0; }
};

class TlsPair {
 public:
  TlsPair(std::shared_ptr<const TlsServerContext> server_side,
          std::shared_ptr<const TlsClientContext> client_side, const std::string& authority = "a.test:443",
          TlsSession* session = nullptr, uint64_t seed = 1);
  ~TlsPair();

  // Until neither has anything more to say.
  void carry();
  // One step; false when nothing moved.
  bool carry_once();
  // A server of TLS 1.3 sends its tickets with the first data.
  void carry_tickets();
  void write(TlsStream& from, const std::string& text);
  bool both_connected() const {
    return client_heard.connected == 1 && client_heard.connect_error == 0 && server_heard.connected == 1;
  }

  Loop loop;
  FakeNetwork network{loop};
  std::shared_ptr<Peer> server_peer;
  std::shared_ptr<Peer> client_peer;
  Heard server_heard;
  Heard client_heard;
  TlsSession own_session;
  std::unique_ptr<TlsStream> server;
  std::unique_ptr<TlsStream> client;
  size_t most_octets = Peer::kAll;  // carried at once
  std::string carried_to_client;    // all of it, as it was on the wire

 private:
  bool carry_from(Peer& from, Peer& to, std::string* copy);
  bool server_end_carried_ = false;
  bool client_end_carried_ = false;
};

}  // namespace sluice::proxy::test
