// The PROXY header. Invariants: a verdict other than `more` stands whatever
// follows, no octet behind the header is taken, and what is complete is complete
// at its last octet and not before.
#include "fuzz/fuzz.h"
#include "proxy/proxy_protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using sluice::fuzz::must;
  using namespace sluice::proxy;
  using Verdict = ProxyHeader::Verdict;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const ProxyHeader header = read_proxy_header(text);
  ProxyHeader before;
  for (size_t at = 0; at <= size && before.verdict == Verdict::more; ++at) {
    before = read_proxy_header(text.substr(0, at));
    must(before.verdict != Verdict::complete || before.size == at, "complete before its end");
  }
  must(before.verdict == header.verdict, "the verdict depends on the cut");
  must(before.verdict != Verdict::complete || (before.size == header.size && before.source == header.source),
       "the header depends on what follows");
  must(before.verdict != Verdict::more || size < ProxyHeader::kMostOctets, "a header without a limit");
  return 0;
}
