// ByteQueue: octets that arrived and could not be used yet.
//
// Empty it holds no memory. Taking from the front moves an index; the rest is
// moved to the front when more is appended.
#pragma once

#include <cstddef>
#include <vector>

#include "proxy/h1_fields.h"

namespace sluice::proxy {

class ByteQueue {
 public:
  bool empty() const { return size() == 0; }
  size_t size() const { return bytes_.size() - begin_; }
  Input view() { return {bytes_.data() + begin_, size()}; }

  void append(const char* data, size_t size) {
    if (begin_ > 0) {
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin_));
      begin_ = 0;
    }
    bytes_.insert(bytes_.end(), data, data + size);
  }
  // Keeps only the last `size` octets.
  void keep_last(size_t size) {
    begin_ = bytes_.size() - size;
    if (size == 0) clear();
  }
  void clear() {
    std::vector<char>().swap(bytes_);
    begin_ = 0;
  }

 private:
  std::vector<char> bytes_;
  size_t begin_ = 0;
};

}  // namespace sluice::proxy
