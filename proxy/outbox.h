// Outbox: what one connection is about to send, gathered during a callback and
// handed to the stream in one vector at its end, so that a head and the slice
// of the body behind it cost one system call.
//
// The slices are views: they must live until the flush, which memory from the
// loop's scratch and from the read buffer does. Adjoining slices are joined.
// When the vector is full it is flushed early.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <string_view>

#include "proxy/loop.h"
#include "proxy/stream.h"

namespace sluice::proxy {

class Outbox {
 public:
  explicit Outbox(Loop& loop)
      : loop_(loop), flush_([](void* self) { static_cast<Outbox*>(self)->flush(); }, this) {}

  void set_stream(Stream* stream) { stream_ = stream; }
  Loop& loop() { return loop_; }

  void add(const char* data, size_t size) {
    if (size == 0) return;
    bytes_ += size;
    if (count_ > 0) {
      iovec& last = slices_[count_ - 1];
      if (static_cast<const char*>(last.iov_base) + last.iov_len == data) {
        last.iov_len += size;
        return;
      }
      if (count_ == kSlices) flush();
    }
    if (count_ == 0) loop_.defer_flush(flush_);
    slices_[count_++] = {const_cast<char*>(data), size};
  }
  void add(std::string_view text) { add(text.data(), text.size()); }

  void flush() {
    if (count_ == 0) return;
    const int count = count_;
    count_ = 0;
    if (stream_ != nullptr) stream_->write(slices_, count);
  }

  bool empty() const { return count_ == 0; }
  // All octets ever added.
  uint64_t bytes() const { return bytes_; }

 private:
  static constexpr int kSlices = 8;

  Loop& loop_;
  Stream* stream_ = nullptr;
  int count_ = 0;
  uint64_t bytes_ = 0;
  iovec slices_[kSlices];
  Deferred flush_;
};

}  // namespace sluice::proxy
