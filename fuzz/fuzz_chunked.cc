// The chunked decoder against an oracle: a second decoder, written for being
// plain, that looks at the whole text at once.
#include <algorithm>
#include <cctype>

#include "fuzz/fuzz.h"
#include "proxy/byte_queue.h"
#include "proxy/h1_chunked.h"

namespace sluice::fuzz {
namespace {

using proxy::ChunkedDecoder;
using Step = ChunkedDecoder::Step;

struct Decoded {
  Step last = Step::more;
  std::string body;
  size_t used = 0;  // when it is the end
};

Decoded decode(std::string_view text, size_t read_size) {
  conf::Limits limits;
  limits.headers = 10'000;
  const proxy::Fields head;
  ChunkedDecoder decoder(head);
  proxy::ByteQueue queue;
  Decoded result;
  for (size_t at = 0; at < text.size() && result.last != Step::end && result.last != Step::bad;) {
    const std::string_view piece = text.substr(at, read_size);
    at += piece.size();
    queue.append(piece.data(), piece.size());
    proxy::Input input = queue.view();
    do {
      result.last = decoder.next(input, limits);
      if (result.last == Step::data) result.body.append(decoder.piece().data, decoder.piece().size);
    } while (result.last == Step::data);
    queue.keep_last(input.size);
    result.used = at - input.size;
  }
  return result;
}

bool is_token_octet(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}
bool is_text_octet(char c) {
  const auto octet = static_cast<unsigned char>(c);
  return octet == '\t' || (octet >= ' ' && octet != 0x7f);
}

// chunk-ext as RFC 9112, 7.1.1 has it in its widest reading: anything printable
// behind a semicolon, with quotations closed. Blanks alone, with which some
// servers pad the size, are taken as well.
bool is_extension(std::string_view text) {
  const size_t semicolon = text.find_first_not_of(" \t");
  if (semicolon == std::string_view::npos) return true;
  if (text[semicolon] != ';') return false;
  bool quoted = false;
  for (size_t i = semicolon; i < text.size(); ++i) {
    if (!is_text_octet(text[i])) return false;
    if (text[i] == '"') quoted = !quoted;
    if (quoted && text[i] == '\\' && (++i == text.size() || !is_text_octet(text[i]))) return false;
  }
  return !quoted;
}

// The verdict on the whole text; `more` where it breaks off within a line, about
// which the decoder may know more already.
Decoded oracle(std::string_view text) {
  Decoded result;
  for (size_t at = 0;;) {
    const size_t end = text.find("\r\n", at);
    if (end == std::string_view::npos) return result;
    const std::string_view line = text.substr(at, end - at);
    const size_t digits = std::min(line.find_first_not_of("0123456789abcdefABCDEF"), line.size());
    const size_t zeros = std::min(line.find_first_not_of('0'), digits);
    const std::string_view significant = line.substr(zeros, digits - zeros);
    if (digits == 0 || significant.size() > 15 || line.size() > 8000 || !is_extension(line.substr(digits))) {
      result.last = Step::bad;
      return result;
    }
    size_t size = 0;
    for (const char c : significant) {
      size = size * 16 + (std::isdigit(static_cast<unsigned char>(c)) != 0
                              ? static_cast<size_t>(c - '0')
                              : static_cast<size_t>(std::tolower(c) - 'a' + 10));
    }
    at = end + 2;
    if (size == 0) {
      result.used = at;  // where the trailers begin
      result.last = Step::end;
      return result;
    }
    result.body += text.substr(std::min(at, text.size()), size);
    if (text.size() - at < size) return result;
    at += size;
    if (text.size() - at < 2) {
      if (text.size() > at && text[at] != '\r') result.last = Step::bad;
      return result;
    }
    if (text.substr(at, 2) != "\r\n") {
      result.last = Step::bad;
      return result;
    }
    at += 2;
  }
}

// Trailers: *( token ":" text CRLF ) CRLF. The decoder may wait for their end
// before it looks at their lines.
Step trailers(std::string_view text, size_t& at) {
  Step verdict = Step::end;
  for (;;) {
    const size_t end = text.find("\r\n", at);
    if (end == std::string_view::npos) return Step::more;
    const std::string_view line = text.substr(at, end - at);
    at = end + 2;
    if (line.empty()) return verdict;
    const size_t colon = line.find(':');
    if (colon == 0 || colon == std::string_view::npos ||
        !std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(colon), is_token_octet) ||
        !std::all_of(line.begin() + static_cast<std::ptrdiff_t>(colon), line.end(), is_text_octet)) {
      verdict = Step::bad;
    }
  }
}

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::fuzz;
  Choices choices(data, size);
  const size_t read_size = 1 + choices.below(40);
  const std::string_view text = choices.rest();
  // Beyond this, limits of lines and of trailers begin to matter.
  if (text.size() > 4000) return 0;
  const Decoded whole = decode(text, text.size());
  const Decoded cut = decode(text, read_size);
  must(whole.last == cut.last && whole.body == cut.body, "the cut changes the verdict", text);
  must(whole.last != Step::end || whole.used == cut.used, "the cut changes the end", text);
  Decoded wanted = oracle(text);
  const bool at_trailers = wanted.last == Step::end;
  if (at_trailers) wanted.last = trailers(text, wanted.used);
  must(whole.body == wanted.body, "the body", text);
  if (wanted.last == Step::more) {
    must(whole.last != Step::end, "an end that is none", text);
  } else {
    must(whole.last == wanted.last, "the verdict", text);
  }
  must(whole.last != Step::end || whole.used == wanted.used, "where it ends", text);
  return 0;
}
