// What a client may send before it is known: the ClientHello and all that
// follows it in a handshake, at a listener with several certificates that asks
// for client certificates.
//
// Invariants: nobody gets through the handshake who did not make one, a failure
// is told once and leaves no handshake counted, and whatever comes, the stream
// closes.
#include <algorithm>
#include <memory>
#include <string>

#include "fuzz/fuzz.h"
#include "proxy/tls_stream.h"
#include "tests/proxy/certificates.h"
#include "tests/proxy/fake_stream.h"

namespace {

using namespace sluice::proxy;
using namespace sluice::proxy::test;
using sluice::fuzz::Choices;
using sluice::fuzz::must;

struct Handler final : Stream::Handler {
  void on_connected(int) override { ++connected; }
  void on_read(char*, size_t) override {}
  void on_read_end() override {}
  void on_stream_error(int) override { ++errors; }
  void on_drained() override {}
  void on_stream_closed() override {
    ++closed;
    stream.reset();
  }
  std::unique_ptr<TlsStream> stream;
  int connected = 0;
  int errors = 0;
  int closed = 0;
};

struct Server {
  Folder folder;
  std::shared_ptr<TlsCounters> counters = std::make_shared<TlsCounters>();
  std::shared_ptr<const TlsServerContext> context;

  Server() {
    const Certificate root({.common_name = "root"});
    sluice::conf::TlsServer settings;
    settings.pairs = {write_pair(folder, "a", Certificate({.san = "DNS:a.test"}, &root)),
                      write_pair(folder, "b", Certificate({.san = "DNS:*.b.test"}, &root))};
    settings.client_ca = folder.write("root.crt", root.pem());
    settings.client_required = false;
    const auto made = TlsServerContext::make("fuzz", settings, std::make_shared<TicketKeys>(), counters, 0);
    must(made.ok(), "no context");
    context = *made;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Server server;
  Choices choices(data, size);
  Loop loop(1);
  loop.set_time_us(4'000'000'000'000'000);  // behind the clock that the loop began with
  FakeNetwork network(loop);
  std::shared_ptr<Peer> peer;
  Handler handler;
  handler.stream = TlsStream::accept(loop, network.make(peer), server.context);
  handler.stream->set_handler(&handler);
  handler.stream->start_reading();
  peer->read_size = 1 + choices.octet();
  const bool ends = choices.flag();
  peer->send(choices.rest());
  if (ends) peer->end();
  network.run();
  must(handler.connected == 0, "a handshake without a key exchange");
  must(handler.errors <= 1, "a failure told twice");
  loop.set_time_us(loop.now_us() + 20'000'000);
  network.run();
  must(handler.errors == 1, "a handshake that neither failed nor ran out of time");
  handler.stream->close();
  network.run();
  must(handler.closed == 1, "a stream that does not close");
  must(server.counters->in_progress == 0, "a handshake that is still counted");
  must(loop.close() == 0, "a handle left open");
  return 0;
}
