#include "proxy/places_line.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "balancer/fields.h"
#include "conf/units.h"

namespace sluice::proxy {

std::string encode(const Places& places) {
  std::string text;
  for (const auto& [cap, count] : places) text += std::to_string(count) + " " + cap + "\n";
  return text;
}

Places decode_places(std::string_view text) {
  Places places;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const size_t blank = line.find(' ');
    const auto count = conf::parse_unsigned(line.substr(0, blank));
    if (blank == std::string_view::npos || !count || *count > UINT32_MAX) continue;
    places[std::string(line.substr(blank + 1))] = static_cast<uint32_t>(*count);
  }
  return places;
}

void PlacesLine::open(int fd) {
  if (fd < 0) return over_();
  pipe_ = new uv_pipe_t;
  uv_pipe_init(loop_.uv(), pipe_, 0);
  pipe_->data = this;
  const auto room = [](uv_handle_t* handle, size_t, uv_buf_t* buffer) {
    Loop& loop = static_cast<PlacesLine*>(handle->data)->loop_;
    *buffer = uv_buf_init(loop.read_buffer(), Loop::kReadBufferBytes);
  };
  const auto came = [](uv_stream_t* stream, ssize_t size, const uv_buf_t* buffer) {
    auto& self = *static_cast<PlacesLine*>(stream->data);
    const Loop::Scope scope(self.loop_);
    if (size > 0) return self.read({buffer->base, static_cast<size_t>(size)});
    if (size == 0) return;
    self.close();
    self.over_();
  };
  int error = uv_pipe_open(pipe_, fd);
  if (error != 0) ::close(fd);
  if (error == 0) error = uv_read_start(reinterpret_cast<uv_stream_t*>(pipe_), room, came);
  if (error == 0) return;
  close();
  over_();
}

void PlacesLine::close() {
  if (pipe_ == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(pipe_, nullptr)),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_pipe_t*>(handle); });
}

void PlacesLine::read(std::string_view octets) {
  constexpr size_t kHeadBytes = 1 + 4;
  unread_ += octets;
  while (unread_.size() >= kHeadBytes) {
    const size_t size = balancer::read_u32(std::string_view(unread_).substr(1));
    if (unread_.size() - kHeadBytes < size) return;
    if (unread_[0] == kLetter) told_(decode_places(std::string_view(unread_).substr(kHeadBytes, size)));
    unread_.erase(0, kHeadBytes + size);
  }
}

}  // namespace sluice::proxy
