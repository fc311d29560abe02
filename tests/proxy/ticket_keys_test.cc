#include "proxy/ticket_keys.h"

#include <openssl/cipher.h>
#include <openssl/hmac.h>

#include <array>
#include <catch2/catch.hpp>

using namespace sluice::proxy;

namespace {

// The name of the key that sealed a ticket, and the vector that it began with.
struct Ticket {
  std::array<uint8_t, 16> name{};
  std::array<uint8_t, EVP_MAX_IV_LENGTH> iv{};
};

Ticket seal(const TicketKeys& keys) {
  Ticket ticket;
  bssl::ScopedEVP_CIPHER_CTX cipher;
  bssl::ScopedHMAC_CTX hmac;
  REQUIRE(keys.seal(ticket.name.data(), ticket.iv.data(), cipher.get(), hmac.get()) == 1);
  return ticket;
}

int open(const TicketKeys& keys, const Ticket& ticket) {
  bssl::ScopedEVP_CIPHER_CTX cipher;
  bssl::ScopedHMAC_CTX hmac;
  return keys.open(ticket.name.data(), ticket.iv.data(), cipher.get(), hmac.get());
}

constexpr int kUnknown = 0;
constexpr int kGood = 1;
constexpr int kToBeRenewed = 2;

}  // namespace

TEST_CASE("ticket_keys: a key seals for kRotateMs, and opens while it is one of the kept") {
  TicketKeys keys;
  uint64_t now_ms = 123'456;
  const auto pass = [&](uint64_t ms) { keys.tick(now_ms += ms); };
  keys.tick(now_ms);
  const Ticket first = seal(keys);
  pass(TicketKeys::kRotateMs - 1);
  CHECK(open(keys, first) == kGood);
  CHECK(seal(keys).name == first.name);
  pass(1);
  CHECK(open(keys, first) == kToBeRenewed);
  const Ticket second = seal(keys);
  CHECK(second.name != first.name);
  CHECK(open(keys, second) == kGood);
  pass(1);  // age counts from the latest rotation
  CHECK(open(keys, second) == kGood);
  for (size_t i = 1; i + 1 < TicketKeys::kKept; ++i) pass(TicketKeys::kRotateMs);
  CHECK(open(keys, first) == kToBeRenewed);
  pass(TicketKeys::kRotateMs);
  CHECK(open(keys, first) == kUnknown);
  CHECK(open(keys, second) == kToBeRenewed);
}

TEST_CASE("ticket_keys: however long nobody looked, the newest key is replaced once") {
  TicketKeys keys;
  keys.tick(1);
  const Ticket before = seal(keys);
  keys.tick(1 + 10 * TicketKeys::kRotateMs);
  CHECK(open(keys, before) == kToBeRenewed);
}
