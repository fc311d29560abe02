// UvStream: a Stream over a TCP or unix socket of libuv.
//
// What it costs to be idle is one uv handle; the state for pending output is
// allocated when a write was refused and let go when it has drained.
#pragma once

#include <uv.h>

#include <memory>
#include <vector>

#include "conf/config.h"
#include "proxy/loop.h"
#include "proxy/stream.h"

namespace sluice::proxy {

class UvStream final : public Stream {
 public:
  enum class Kind : uint8_t { tcp, unix_socket };

  UvStream(Loop& loop, Kind kind);
  ~UvStream() override;

  // The stream of a connection that was accepted. When that fails it is null and
  // `fd` closed.
  static std::unique_ptr<UvStream> of_accepted(Loop& loop, Kind kind, int fd);
  // Begins to connect; the handler hears on_connected, always later.
  void connect(const conf::Address& address);

  void start_reading() override;
  void stop_reading() override;
  void write(const iovec* slices, int count) override;
  size_t pending() const override;
  void hold_for_end() override { held_ = kind_ == Kind::tcp; }
  void shutdown_write() override;
  void close() override;
  void reset() override;
  bool has_news() const override;
  FarEnd far_end() const override;

  // Closes a stream that nobody handles and destroys it when that is done.
  static void discard(std::unique_ptr<UvStream> stream);

 private:
  struct Output {
    uv_write_t request{};
    std::vector<char> writing;  // libuv has this
    std::vector<char> waiting;  // and this comes next
    bool in_flight = false;
    bool above_low = false;
  };

  uv_stream_t* handle() { return reinterpret_cast<uv_stream_t*>(&handle_); }
  const uv_stream_t* handle() const { return reinterpret_cast<const uv_stream_t*>(&handle_); }
  bool closing() const { return uv_is_closing(reinterpret_cast<const uv_handle_t*>(&handle_)) != 0; }
  int socket_error() const;
  ssize_t write_now(const iovec* slices, int count);
  void halt_reading();
  void fail_write(int error);
  void keep(const iovec* slices, int count, size_t skip);
  void write_waiting();
  void fail_later(int error);
  void fail_now();
  static void on_connect(uv_connect_t* request, int status);
  static void on_alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buffer);
  static void on_read(uv_stream_t* handle, ssize_t size, const uv_buf_t* buffer);
  static void on_written(uv_write_t* request, int status);
  static void on_closed(uv_handle_t* handle);

  Loop& loop_;
  union {
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } handle_{};
  const Kind kind_;
  bool reading_ = false;
  bool shutdown_wanted_ = false;
  bool shut_ = false;
  bool held_ = false;  // what is written waits for the end
  int error_ = 0;      // to be told by failure_
  std::unique_ptr<Output> output_;
  std::unique_ptr<uv_connect_t> connecting_;
  Deferred failure_;
};

}  // namespace sluice::proxy
