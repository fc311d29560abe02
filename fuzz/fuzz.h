// What the fuzz targets share: how a broken invariant ends the process, and how
// the octets of an input become choices.
//
// A target defines LLVMFuzzerTestOneInput (LibFuzzer.rst of LLVM). It gets no
// time, randomness or state but what the input and constants give, so that one
// input always does the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace sluice::fuzz {

// Ends the process, which is how libFuzzer hears of it, unless `holds`.
inline void must(bool holds, std::string_view what, std::string_view shown = {}) {
  if (holds) return;
  const std::string text = "broken: " + std::string(what) + "\n" + std::string(shown) + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::abort();
}

// Takes choices from the front of an input; when it is used up, all are 0.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }
  uint8_t octet() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  uint32_t below(uint32_t limit) { return octet() % limit; }
  bool flag() { return (octet() & 1) != 0; }
  std::string_view take(size_t size) {
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view rest() { return take(rest_.size()); }

 private:
  std::string_view rest_;
};

}  // namespace sluice::fuzz
