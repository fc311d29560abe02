// DemoOrigin: a small HTTP/1.1 origin on loopback that answers every request by
// its colour's name, and fails as large a share of them as it is told.
//
// Thread: the loop's. Owner: Demo; destroyed after close() and the loop's end.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "conf/result.h"
#include "proxy/accepting_socket.h"
#include "proxy/h1_downstream_codec.h"
#include "proxy/loop.h"

namespace sluice::admin {

class DemoOrigin {
 public:
  DemoOrigin(proxy::Loop& loop, std::string colour);
  DemoOrigin(const DemoOrigin&) = delete;
  DemoOrigin& operator=(const DemoOrigin&) = delete;
  ~DemoOrigin();

  conf::Status listen();  // on 127.0.0.1, any port
  uint16_t port() const { return port_; }
  void set_error_share(double share) { error_share_ = share; }  // 0..1
  void close();

 private:
  class Connection;

  void begin(int client);

  proxy::Loop& loop_;
  const std::string colour_;
  proxy::CodecWorkspace workspace_;
  proxy::AcceptingSocket socket_;
  uint16_t port_ = 0;
  double error_share_ = 0;
  std::set<Connection*> connections_;
};

}  // namespace sluice::admin
