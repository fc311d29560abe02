#include "proxy/ticket_keys.h"

#include <openssl/cipher.h>
#include <openssl/digest.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
#include <openssl/rand.h>

#include <algorithm>

namespace sluice::proxy {

TicketKeys::TicketKeys() {
  rotate();
}

TicketKeys::~TicketKeys() {
  OPENSSL_cleanse(keys_.data(), sizeof(keys_));
}

void TicketKeys::tick(uint64_t now_ms) {
  if (rotated_ms_ == 0) rotated_ms_ = now_ms;
  if (now_ms - rotated_ms_ < kRotateMs) return;
  rotated_ms_ = now_ms;
  rotate();
}

void TicketKeys::rotate() {
  const std::lock_guard lock(mutex_);
  count_ = std::min(count_ + 1, kKept);
  std::move_backward(keys_.begin(), keys_.end() - 1, keys_.end());
  RAND_bytes(reinterpret_cast<uint8_t*>(keys_.data()), sizeof(Key));
}

int TicketKeys::seal(uint8_t* name, uint8_t* iv, EVP_CIPHER_CTX* cipher, HMAC_CTX* hmac) const {
  const std::lock_guard lock(mutex_);
  const Key& key = keys_.front();
  std::copy(std::begin(key.name), std::end(key.name), name);
  const EVP_CIPHER* const aes = EVP_aes_256_cbc();
  const bool ready = RAND_bytes(iv, EVP_CIPHER_iv_length(aes)) == 1 &&
                     EVP_EncryptInit_ex(cipher, aes, nullptr, key.cipher, iv) == 1 &&
                     HMAC_Init_ex(hmac, key.hmac, sizeof(key.hmac), EVP_sha256(), nullptr) == 1;
  return ready ? 1 : -1;
}

int TicketKeys::open(const uint8_t* name, const uint8_t* iv, EVP_CIPHER_CTX* cipher, HMAC_CTX* hmac) const {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < count_; ++i) {
    const Key& key = keys_[i];
    if (!std::equal(std::begin(key.name), std::end(key.name), name)) continue;
    const bool ready = HMAC_Init_ex(hmac, key.hmac, sizeof(key.hmac), EVP_sha256(), nullptr) == 1 &&
                       EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.cipher, iv) == 1;
    if (!ready) return -1;
    return i == 0 ? 1 : 2;
  }
  return 0;
}

}  // namespace sluice::proxy
