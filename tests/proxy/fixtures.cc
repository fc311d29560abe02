#include "fixtures.h"

namespace sluice::proxy::test {

std::string get(const std::string& target) {
  return "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n";
}

std::string answer(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\n" + kDate +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

int status_of(const std::string& text) {
  return text.size() >= 12 && text.starts_with("HTTP/1.") ? std::stoi(text.substr(9, 3)) : 0;
}

std::string body_of(const std::string& text) {
  const size_t end = text.find("\r\n\r\n");
  return end == std::string::npos ? std::string{} : text.substr(end + 4);
}

bool contains(const std::string& text, std::string_view what) {
  return text.find(what) != std::string::npos;
}

std::string pattern(size_t size) {
  std::string result(size, '\0');
  for (size_t i = 0; i < size; ++i) result[i] = static_cast<char>('a' + i * 7 % 26 + (i / 26) % 2);
  return result;
}

}  // namespace sluice::proxy::test
