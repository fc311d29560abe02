// DataPath: a MemoryPath that fails its test when something was left behind.
//
//   DataPath path(one_service());
//   auto client = path.connect();
//   client->send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
//   path.run();
//   path.origin(0).send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
//   path.run();
//   CHECK(client->received() == ...);
//
// The destructor closes everything and checks that nothing stayed: no stream, no
// connection, no place under a cap, no handle of the loop.
#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <string_view>

#include "memory_path.h"

namespace sluice::proxy::test {

class DataPath : public MemoryPath {
 public:
  using MemoryPath::MemoryPath;
  ~DataPath() { CHECK(close() == ""); }

  Peer& origin(size_t index) {
    REQUIRE(index < dials());
    return MemoryPath::origin(index);
  }
};

inline const std::string kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
// The origins' answers are dated, as most are: what passes is what was sent.
inline const std::string kDate = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
inline const std::string kOk = "HTTP/1.1 200 OK\r\n" + kDate + "Content-Length: 2\r\n\r\nok";
std::string get(const std::string& target);
// An answer of a status and with a body of known length.
std::string answer(int status, const std::string& body = "");
// The status of the first response in the text, 0 when there is none.
int status_of(const std::string& text);
// The body behind the first head.
std::string body_of(const std::string& text);
bool contains(const std::string& text, std::string_view what);
// `size` octets that differ from their neighbours.
std::string pattern(size_t size);

}  // namespace sluice::proxy::test
