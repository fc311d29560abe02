// FakeNameServer: a scripted DNS server (RFC 1035) on a free port of 127.0.0.1,
// UDP and TCP, on the test's own loop. It answers what it was told to, badly
// where it was told to, and counts the questions.
//
// A name that it was told nothing of does not exist; a name without records of
// the type asked for has none.
#pragma once

#include <arpa/inet.h>
#include <uv.h>

#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "proxy/loop.h"

namespace sluice::proxy {

enum class RecordType : uint16_t { a = 1, cname = 5, aaaa = 28 };

struct Record {
  std::string owner;  // empty: the name asked for
  RecordType type = RecordType::a;
  uint32_t ttl_s = 60;
  std::string data;  // an address, or a name for cname
};

struct Reply {
  enum class Kind {
    records,
    servfail,
    silent,
    garbage,    // octets that are no DNS message, and nothing else
    malformed,  // a good header and question, then a record that breaks off
    forged,     // a wrong id before the real answer
  };
  Kind kind = Kind::records;
  std::vector<Record> records;
};

class FakeNameServer {
 public:
  explicit FakeNameServer(Loop& loop) {
    // The same port for both: a few tries, as another process may hold one.
    for (int i = 0; i < 20 && port_ == 0; ++i) bind(loop.uv());
    if (port_ == 0) throw std::runtime_error("no port is free for both UDP and TCP");
    uv_udp_recv_start(
        udp_,
        [](uv_handle_t* handle, size_t, uv_buf_t* buffer) {
          auto* const self = static_cast<FakeNameServer*>(handle->data);
          *buffer = uv_buf_init(self->datagram_, sizeof(self->datagram_));
        },
        on_datagram);
  }
  FakeNameServer(const FakeNameServer&) = delete;
  FakeNameServer& operator=(const FakeNameServer&) = delete;

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  void set(const std::string& name, RecordType type, Reply reply) {
    script_[{name, type}] = std::move(reply);
  }
  void set(const std::string& name, RecordType type, const std::vector<std::string>& addresses,
           uint32_t ttl_s = 60) {
    Reply reply;
    for (const std::string& address : addresses) reply.records.push_back({"", type, ttl_s, address});
    set(name, type, std::move(reply));
  }
  void set(const std::string& name, RecordType type, Reply::Kind kind) { set(name, type, Reply{kind, {}}); }
  void forget(const std::string& name) {
    std::erase_if(script_, [&name](const auto& entry) { return entry.first.first == name; });
  }
  size_t asked(const std::string& name, RecordType type = RecordType::a) const {
    const auto found = asked_.find({name, type});
    return found == asked_.end() ? 0 : found->second;
  }
  size_t asked_over_tcp() const { return asked_over_tcp_; }

  void close() {
    for (uv_tcp_t* const client : clients_) close_handle(client);
    clients_.clear();
    close_handle(udp_);
    close_handle(tcp_);
  }

 private:
  using Question = std::pair<std::string, RecordType>;
  static constexpr size_t kHeaderBytes = 12;
  static constexpr size_t kMostUdpBytes = 512;

  template <typename Handle>
  static void close_handle(Handle* handle) {
    uv_close(reinterpret_cast<uv_handle_t*>(handle),
             [](uv_handle_t* closed) { delete reinterpret_cast<Handle*>(closed); });
  }

  void bind(uv_loop_t* loop) {
    udp_ = new uv_udp_t;
    tcp_ = new uv_tcp_t;
    uv_udp_init(loop, udp_);
    uv_tcp_init(loop, tcp_);
    udp_->data = this;
    tcp_->data = this;
    sockaddr_in any{};
    uv_ip4_addr("127.0.0.1", 0, &any);
    uv_udp_bind(udp_, reinterpret_cast<sockaddr*>(&any), 0);
    int length = sizeof(any);
    uv_udp_getsockname(udp_, reinterpret_cast<sockaddr*>(&any), &length);
    uv_tcp_bind(tcp_, reinterpret_cast<sockaddr*>(&any), 0);
    if (uv_listen(reinterpret_cast<uv_stream_t*>(tcp_), 8, on_client) == 0) {
      port_ = ntohs(any.sin_port);
      return;
    }
    close_handle(udp_);
    close_handle(tcp_);
  }

  static void put16(std::string& to, size_t value) {
    to += static_cast<char>(value >> 8);
    to += static_cast<char>(value);
  }

  static std::string encode_name(const std::string& name) {
    std::string encoded;
    for (size_t at = 0; at < name.size();) {
      const size_t dot = std::min(name.find('.', at), name.size());
      encoded += static_cast<char>(dot - at);
      encoded += name.substr(at, dot - at);
      at = dot + 1;
    }
    return encoded + '\0';
  }

  static void put_record(std::string& to, const Record& record) {
    to += record.owner.empty() ? std::string("\xc0\x0c") : encode_name(record.owner);
    put16(to, static_cast<size_t>(record.type));
    put16(to, 1);
    put16(to, record.ttl_s >> 16);
    put16(to, record.ttl_s & 0xffff);
    char address[16];
    std::string data;
    if (record.type == RecordType::cname) {
      data = encode_name(record.data);
    } else {
      const bool is_v4 = record.type == RecordType::a;
      inet_pton(is_v4 ? AF_INET : AF_INET6, record.data.c_str(), address);
      data.assign(address, is_v4 ? 4 : 16);
    }
    put16(to, data.size());
    to += data;
  }

  // The messages that answer the question; mostly one.
  std::vector<std::string> answer(const std::string& query, bool over_tcp) {
    std::string name;
    size_t at = kHeaderBytes;
    while (query.at(at) != 0) {
      const auto length = static_cast<size_t>(query[at]);
      name += (name.empty() ? "" : ".") + query.substr(at + 1, length);
      at += 1 + length;
    }
    const auto type = static_cast<RecordType>(static_cast<uint8_t>(query.at(at + 2)));
    const std::string question = query.substr(kHeaderBytes, at + 5 - kHeaderBytes);
    ++asked_[{name, type}];
    if (over_tcp) ++asked_over_tcp_;

    const auto known = script_.find({name, type});
    const Reply reply = known == script_.end() ? Reply{} : known->second;
    const auto same_name = script_.lower_bound({name, RecordType::a});
    const bool exists = same_name != script_.end() && same_name->first.first == name;
    if (reply.kind == Reply::Kind::silent) return {};
    if (reply.kind == Reply::Kind::garbage)
      return {std::string("\xde\xad\xbe\xef", 4), std::string(300, '\xff')};

    const size_t code = reply.kind == Reply::Kind::servfail ? 2 : exists ? 0 : 3;
    std::string records;
    for (const Record& record : reply.records) put_record(records, record);
    const auto message = [&](bool cut) {
      std::string bytes = query.substr(0, 2);
      put16(bytes, 0x8180 | (cut ? 0x0200 : 0) | code);
      put16(bytes, 1);
      put16(bytes, cut ? 0 : reply.records.size());
      put16(bytes, 0);
      put16(bytes, 0);
      return bytes + question + (cut ? "" : records);
    };
    std::string whole = message(false);
    if (!over_tcp && whole.size() > kMostUdpBytes) return {message(true)};
    if (reply.kind == Reply::Kind::malformed) {
      whole[7] = 1;
      return {whole + std::string("\xc0\x0c\x00\x01", 4)};
    }
    if (reply.kind != Reply::Kind::forged) return {whole};
    std::string forged = whole;
    forged[0] = static_cast<char>(~forged[0]);
    forged.back() = static_cast<char>(~forged.back());
    return {forged, whole};
  }

  static void on_datagram(uv_udp_t* handle, ssize_t size, const uv_buf_t* buffer, const sockaddr* from,
                          unsigned) {
    if (size <= 0 || from == nullptr) return;
    auto* const self = static_cast<FakeNameServer*>(handle->data);
    for (std::string& message : self->answer(std::string(buffer->base, static_cast<size_t>(size)), false)) {
      const uv_buf_t out = uv_buf_init(message.data(), static_cast<unsigned>(message.size()));
      uv_udp_try_send(handle, &out, 1, from);
    }
  }

  static void on_client(uv_stream_t* listener, int) {
    auto* const self = static_cast<FakeNameServer*>(listener->data);
    auto* const client = new uv_tcp_t;
    uv_tcp_init(listener->loop, client);
    client->data = self;
    self->clients_.push_back(client);
    uv_accept(listener, reinterpret_cast<uv_stream_t*>(client));
    uv_read_start(
        reinterpret_cast<uv_stream_t*>(client),
        [](uv_handle_t* handle, size_t, uv_buf_t* buffer) {
          auto* const server = static_cast<FakeNameServer*>(handle->data);
          *buffer = uv_buf_init(server->datagram_, sizeof(server->datagram_));
        },
        on_stream_data);
  }

  // A question is so small that it comes in one piece, but c-ares may send two
  // in one segment.
  static void on_stream_data(uv_stream_t* stream, ssize_t size, const uv_buf_t* buffer) {
    auto* const self = static_cast<FakeNameServer*>(stream->data);
    if (size <= 0) {
      std::erase(self->clients_, reinterpret_cast<uv_tcp_t*>(stream));
      close_handle(reinterpret_cast<uv_tcp_t*>(stream));
      return;
    }
    std::string bytes(buffer->base, static_cast<size_t>(size));
    while (bytes.size() > 2) {
      const size_t length = static_cast<uint8_t>(bytes[0]) * size_t{256} + static_cast<uint8_t>(bytes[1]);
      for (const std::string& message : self->answer(bytes.substr(2, length), true)) {
        std::string framed;
        put16(framed, message.size());
        framed += message;
        const uv_buf_t out = uv_buf_init(framed.data(), static_cast<unsigned>(framed.size()));
        uv_try_write(stream, &out, 1);
      }
      bytes.erase(0, 2 + length);
    }
  }

  uv_udp_t* udp_ = nullptr;
  uv_tcp_t* tcp_ = nullptr;
  std::vector<uv_tcp_t*> clients_;
  uint16_t port_ = 0;
  std::map<Question, Reply> script_;
  std::map<Question, size_t> asked_;
  size_t asked_over_tcp_ = 0;
  char datagram_[4096];
};

}  // namespace sluice::proxy
