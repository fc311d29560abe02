// TicketKeys: the keys that seal session tickets (RFC 5077), shared by all
// listeners and workers, so that a client resumes wherever it comes back.
//
//   newest            seals, opens
//   the kKept - 1     open only; the client gets a fresh ticket
//   older             forgotten: a full handshake
//
// Whoever has a key can read what was sent under TLS 1.2 sessions resumed with
// it, so a key seals for kRotateMs only and none is ever written anywhere: a
// restarted process begins with new ones. Forgotten keys are wiped.
//
// Thread: rotate() the control thread's, seal() and open() any. They take a
// lock, once in a handshake, which costs a thousand times more.
#pragma once

#include <openssl/base.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace sluice::proxy {

class TicketKeys {
 public:
  static constexpr uint64_t kRotateMs = 8 * 3600 * 1000;
  static constexpr size_t kKept = 3;
  // So long a ticket is honoured at all; the oldest key that is kept covers it.
  static constexpr uint32_t kTicketLifetimeS = (kKept - 1) * kRotateMs / 1000;

  TicketKeys();
  TicketKeys(const TicketKeys&) = delete;
  TicketKeys& operator=(const TicketKeys&) = delete;
  ~TicketKeys();

  // Rotates when the newest key is old enough; the first call says when it was
  // made.
  void tick(uint64_t now_ms);
  void rotate();

  // As BoringSSL's ticket callback wants them, SSL_CTX_set_tlsext_ticket_key_cb:
  // they fill in the key's name and prepare the contexts. open() answers 0 for
  // a key that is not known, 1, or 2 when the ticket should be renewed; seal()
  // 1 or, when there is no randomness, -1.
  int seal(uint8_t* name, uint8_t* iv, EVP_CIPHER_CTX* cipher, HMAC_CTX* hmac) const;
  int open(const uint8_t* name, const uint8_t* iv, EVP_CIPHER_CTX* cipher, HMAC_CTX* hmac) const;

 private:
  struct Key {
    uint8_t name[16];
    uint8_t cipher[32];
    uint8_t hmac[32];
  };

  mutable std::mutex mutex_;
  std::array<Key, kKept> keys_;  // newest first, guarded by mutex_
  size_t count_ = 0;
  uint64_t rotated_ms_ = 0;
};

}  // namespace sluice::proxy
