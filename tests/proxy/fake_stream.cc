#include "fake_stream.h"

#include <uv.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace sluice::proxy::test {

FakeStream::FakeStream(FakeNetwork& network, std::shared_ptr<Peer> peer)
    : network_(network), peer_(std::move(peer)) {
  peer_->stream_ = this;
}

FakeStream::~FakeStream() {
  // Destroyed before it was told to close: what no socket forgives.
  if (!peer_->closed_ || std::exchange(peer_->stream_, nullptr) == nullptr) std::abort();
  std::erase(network_.peers_, peer_);
}

void FakeStream::start_reading() {
  if (!peer_->closed_) peer_->reading_ = true;
}

void FakeStream::stop_reading() {
  peer_->reading_ = false;
}

void FakeStream::write(const iovec* slices, int count) {
  Peer& peer = *peer_;
  if (peer.closed_ || peer.write_error_ != 0) return;
  if (peer.saw_end_ || peer.error_ != 0) {
    peer.write_error_ = UV_EPIPE;
    return;
  }
  for (int i = 0; i < count; ++i) {
    std::string_view slice(static_cast<const char*>(slices[i].iov_base), slices[i].iov_len);
    const size_t at_once = peer.pending_.empty() ? std::min(slice.size(), peer.room_) : 0;
    (peer.holding_ ? peer.held_ : peer.received_) += slice.substr(0, at_once);
    if (peer.room_ != Peer::kAll) peer.room_ -= at_once;
    peer.pending_ += slice.substr(at_once);
  }
  peer.most_pending_ = std::max(peer.most_pending_, peer.pending_.size());
  if (peer.pending_.size() >= kLowWatermark) peer.above_low_ = true;
}

void FakeStream::shutdown_write() {
  if (peer_->closed_) return;
  peer_->shutdown_wanted_ = true;
  if (!peer_->pending_.empty()) return;
  let_go_held();
  peer_->saw_end_ = true;
}

void FakeStream::close() {
  if (!peer_->closed_) let_go_held();
  peer_->closed_ = true;
}

void FakeStream::reset() {
  if (peer_->closed_) return;
  peer_->reset_ = true;
  peer_->closed_ = true;
}

std::unique_ptr<Stream> FakeNetwork::make(std::shared_ptr<Peer>& peer) {
  if (peer == nullptr) peer = std::make_shared<Peer>();
  peers_.push_back(peer);
  return std::make_unique<FakeStream>(*this, peer);
}

// Octets that are held wait for an end that must follow in the same callback.
void FakeNetwork::run_deferred() {
  loop_.run_deferred();
  for (const auto& peer : peers_) {
    if (peer->holding_ && !peer->closed_ && !peer->shutdown_wanted_) std::abort();
  }
}

bool FakeNetwork::step() {
  run_deferred();
  bool any = false;
  const std::vector<std::shared_ptr<Peer>> now = peers_;
  for (const auto& peer : now) {
    if (!peer->alive() || !deliver(*peer)) continue;
    run_deferred();
    any = true;
  }
  return any;
}

bool FakeNetwork::deliver(Peer& peer) {
  Stream::Handler* const handler = peer.stream_->handler_;
  if (peer.closed_) {
    handler->on_stream_closed();
    return true;
  }
  if (!peer.connected_) {
    if (!peer.answered_) return false;
    peer.connected_ = true;
    handler->on_connected(peer.connect_result_);
    return true;
  }
  if (peer.error_ != 0 && !peer.pending_.empty()) peer.write_error_ = peer.error_;
  if (peer.write_error_ != 0 && !peer.write_error_told_) {
    peer.write_error_told_ = true;
    peer.reading_ = false;
    handler->on_stream_error(peer.write_error_);
    return true;
  }
  return deliver_room(peer) || deliver_read(peer);
}

bool FakeNetwork::deliver_room(Peer& peer) {
  const size_t octets = std::min(peer.room_, peer.pending_.size());
  if (octets == 0 || peer.error_ != 0) return false;
  peer.stream_->let_go_held();
  peer.received_.append(peer.pending_, 0, octets);
  peer.pending_.erase(0, octets);
  if (peer.room_ != Peer::kAll) peer.room_ -= octets;
  const bool drained = peer.above_low_ && peer.pending_.size() < Stream::kLowWatermark;
  if (drained) peer.above_low_ = false;
  const bool all_out = peer.pending_.empty();
  if (all_out && peer.shutdown_wanted_) peer.saw_end_ = true;
  if (drained || all_out) peer.stream_->handler_->on_drained();
  return true;
}

bool FakeNetwork::deliver_read(Peer& peer) {
  if (!peer.reading_) return false;
  Stream::Handler* const handler = peer.stream_->handler_;
  if (!peer.incoming_.empty()) {
    const size_t size = std::min({peer.incoming_.size(), peer.read_size, loop_.read_bytes()});
    char* const buffer = loop_.read_buffer();
    peer.incoming_.copy(buffer, size);
    peer.incoming_.erase(0, size);
    handler->on_read(buffer, size);
    loop_.run_deferred();
    std::memset(buffer, '!', size);
    return true;
  }
  if (peer.error_ != 0) {
    peer.reading_ = false;
    handler->on_stream_error(peer.error_);
    return true;
  }
  if (peer.end_) {
    peer.reading_ = false;
    handler->on_read_end();
    return true;
  }
  return false;
}

std::unique_ptr<Stream> FakeDialer::dial(const balancer::EndpointState& endpoint, Stream::Handler* handler) {
  std::shared_ptr<Peer> peer;
  std::unique_ptr<Stream> stream = network_.make(peer);
  stream->set_handler(handler);
  peer->name_ = endpoint.name();
  peer->connected_ = false;
  peer->answered_ = connects;
  dialled.push_back(peer);
  return stream;
}

}  // namespace sluice::proxy::test
