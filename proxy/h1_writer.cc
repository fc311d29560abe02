#include "proxy/h1_writer.h"

#include <charconv>

namespace sluice::proxy {

std::string_view reason_phrase(uint16_t status) {
  switch (status) {
    case 100:
      return "Continue";
    case 101:
      return "Switching Protocols";
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";
  }
}

size_t start_line_size(const Fields& fields) {
  const std::string_view block(fields.block(), fields.block_size());
  return block.find('\r');
}

size_t size_of_fields(const Fields& fields, const AddedFields& added) {
  size_t size = fields.block_size();
  for (size_t i = 0; i < added.count; ++i) size += added.all[i].name.size() + added.all[i].value.size() + 4;
  return size;
}

void append_fields(Appender& to, const Fields& fields, const AddedFields& added, size_t first_line_size) {
  // Lines that stay are copied in runs: fields lie one behind the other.
  const char* const block = fields.block();
  size_t run = first_line_size + 2;
  const size_t end = fields.block_size() - 2;
  const auto& all = fields.all();
  for (size_t i = 0; i < all.size(); ++i) {
    if (!all[i].dropped) continue;
    to << std::string_view(block + run, all[i].name_begin - run);
    run = i + 1 < all.size() ? all[i + 1].name_begin : end;
  }
  to << std::string_view(block + run, end - run);
  for (size_t i = 0; i < added.count; ++i) {
    to << added.all[i].name << ": " << added.all[i].value << "\r\n";
  }
}

void write_chunk(Outbox& out, const char* data, size_t size) {
  if (size == 0) return;  // would end the body
  constexpr size_t kMostDigits = 16;
  char* const line = out.loop().scratch().allocate(kMostDigits + 2);
  char* const end = std::to_chars(line, line + kMostDigits, size, 16).ptr;
  end[0] = '\r';
  end[1] = '\n';
  out.loop().scratch().shrink(end + 2);
  out.add(line, static_cast<size_t>(end + 2 - line));
  out.add(data, size);
  out.add("\r\n");
}

void write_last_chunk(Outbox& out, const Fields* trailers) {
  if (trailers == nullptr || trailers->all().empty()) {
    out.add("0\r\n\r\n");
    return;
  }
  // A line of the block may lack the space that it gets here.
  constexpr size_t kAround = 8;
  char* const text = out.loop().scratch().allocate(trailers->block_size() + trailers->all().size() + kAround);
  Appender to(text);
  to << "0\r\n";
  for (const Field& field : trailers->all()) {
    if (!field.dropped) to << trailers->name(field) << ": " << trailers->value(field) << "\r\n";
  }
  to << "\r\n";
  out.add(text, static_cast<size_t>(to.at() - text));
}

}  // namespace sluice::proxy
