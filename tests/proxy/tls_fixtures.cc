#include "tls_fixtures.h"

#include <catch2/catch.hpp>
#include <utility>

namespace sluice::proxy::test {

std::shared_ptr<const TlsServerContext> server_context(const conf::TlsServer& settings,
                                                       std::shared_ptr<const TicketKeys> tickets,
                                                       std::shared_ptr<TlsCounters> counters,
                                                       const std::string& name) {
  if (tickets == nullptr) tickets = std::make_shared<TicketKeys>();
  if (counters == nullptr) counters = std::make_shared<TlsCounters>();
  auto made = TlsServerContext::make(name, settings, tickets, counters, 0);
  INFO((made.ok() ? "" : made.error().detail));
  REQUIRE(made.ok());
  return *made;
}

std::shared_ptr<const TlsClientContext> client_context(const conf::TlsClient& settings) {
  auto made = TlsClientContext::make(settings);
  INFO((made.ok() ? "" : made.error().detail));
  REQUIRE(made.ok());
  return *made;
}

TlsPair::TlsPair(std::shared_ptr<const TlsServerContext> server_side,
                 std::shared_ptr<const TlsClientContext> client_side, const std::string& authority,
                 TlsSession* session, uint64_t seed)
    : loop(seed) {
  loop.set_time_us(4'000'000'000'000'000);
  server = TlsStream::accept(loop, network.make(server_peer), std::move(server_side));
  FakeDialer dialer(network);
  const balancer::EndpointState endpoint({}, "origin", authority, 1);
  auto dialled = dialer.dial(endpoint, nullptr);
  client_peer = dialer.dialled.front();
  client = TlsStream::connect(loop, std::move(dialled), std::move(client_side), authority,
                              session == nullptr ? own_session : *session);
  server->set_handler(&server_heard);
  client->set_handler(&client_heard);
  server_heard.stream = &server;
  client_heard.stream = &client;
  server->start_reading();
  client->start_reading();
}

TlsPair::~TlsPair() {
  if (server != nullptr) server->close();
  if (client != nullptr) client->close();
  network.run();
  CHECK(server_heard.closed == 1);
  CHECK(client_heard.closed == 1);
  CHECK(network.streams() == 0);
  CHECK(loop.close() == 0);
}

bool TlsPair::carry_from(Peer& from, Peer& to, std::string* copy) {
  const std::string moved = from.take_received();
  if (moved.empty() || !to.open()) return false;
  if (copy != nullptr) *copy += moved;
  to.send(moved);
  to.read_size =
      most_octets == Peer::kAll ? Peer::kAll : most_octets / 4 + 1 + loop.random().below(most_octets);
  return true;
}

bool TlsPair::carry_once() {
  bool any = network.step();
  any |= carry_from(*server_peer, *client_peer, &carried_to_client);
  any |= carry_from(*client_peer, *server_peer, nullptr);
  if (server_peer->saw_end() && !std::exchange(server_end_carried_, true)) client_peer->end();
  if (client_peer->saw_end() && !std::exchange(client_end_carried_, true)) server_peer->end();
  return any;
}

void TlsPair::carry() {
  while (carry_once()) {
  }
}

void TlsPair::carry_tickets() {
  write(*server, "data");
  carry();
}

void TlsPair::write(TlsStream& from, const std::string& text) {
  const iovec slice{const_cast<char*>(text.data()), text.size()};
  from.write(&slice, 1);
  loop.run_deferred();
}

}  // namespace sluice::proxy::test
