#include "conf/parse.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <variant>

#include "conf/document.h"
#include "conf/reader.h"
#include "conf/result.h"
#include "conf/types.h"
#include "conf/validate.h"

namespace sluice::conf {
namespace {

Error os_error(const std::string& what, int code) {
  return {Error::Kind::io, Error::Source::system, false, what + ": " + std::strerror(code)};
}

// Up to one byte more than a configuration may have, so that it shows.
Result<std::string> read_all(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return os_error("the file cannot be opened", errno);
  std::string text;
  int error = 0;
  while (text.size() <= kMaxFileBytes) {
    char block[64 * 1024];
    const ssize_t got = ::read(fd, block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) error = errno;
    if (got <= 0) break;
    text.append(block, static_cast<size_t>(got));
  }
  ::close(fd);
  if (error != 0) return os_error("the file cannot be read", error);
  return text;
}

}  // namespace

std::string ParseOutcome::to_string() const {
  std::string out;
  for (const Diagnostic& error : errors) out += (out.empty() ? "" : "\n") + error.to_string(file);
  return out;
}

ParseOutcome parse(std::string_view text, const std::string& file) {
  const std::variant<Value, Diagnostic> document = parse_document(text);
  if (const auto* syntax = std::get_if<Diagnostic>(&document)) return {file, std::nullopt, {*syntax}};
  Config config;
  config.file = file;
  Diagnostics diagnostics;
  Positions positions;
  read_config(std::get<Value>(document), config, diagnostics, positions);
  validate(config, positions, diagnostics);
  std::vector<Diagnostic> errors = diagnostics.take();
  if (!errors.empty()) return {file, std::nullopt, std::move(errors)};
  return {file, std::move(config), {}};
}

ParseOutcome parse_file(const std::string& path) {
  const Result<std::string> text = read_all(path);
  if (!text) return {path, std::nullopt, {{{1, 1}, text.error().detail, {}}}};
  return parse(*text, path);
}

}  // namespace sluice::conf
