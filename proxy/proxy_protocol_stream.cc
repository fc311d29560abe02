#include "proxy/proxy_protocol_stream.h"

#include <uv.h>

#include <algorithm>
#include <utility>

namespace sluice::proxy {

ProxyProtocolStream::ProxyProtocolStream(std::unique_ptr<Stream> below) : below_(std::move(below)) {
  below_->set_handler(this);
}

void ProxyProtocolStream::on_read(char* data, size_t size) {
  if (greeted_) {
    handler_->on_read(data, size);
    return;
  }
  const size_t before = header_.size();
  header_.append(data, std::min(size, ProxyHeader::kMostOctets - before));
  const ProxyHeader header = read_proxy_header(header_);
  switch (header.verdict) {
    case ProxyHeader::Verdict::more:
      return;
    case ProxyHeader::Verdict::bad:
      below_->stop_reading();
      handler_->on_stream_error(UV_EPROTO);
      return;
    case ProxyHeader::Verdict::complete:
      break;
  }
  greeted_ = true;
  std::string().swap(header_);
  if (const OnSource told = std::exchange(on_source_, nullptr); told && header.source) told(*header.source);
  // It was not complete before: what follows it lies in this read.
  const size_t taken = header.size - before;
  if (taken < size) handler_->on_read(data + taken, size - taken);
}

}  // namespace sluice::proxy
