#include "balancer/routes.h"

#include <algorithm>

namespace sluice::balancer {

void RouteTable::add(std::string_view host, std::string_view path, uint32_t service) {
  Paths* paths = &any_;
  if (host.starts_with("*.")) {
    paths = &suffix_[std::string(host.substr(1))];
  } else if (!host.empty()) {
    paths = &exact_[std::string(host)];
  }
  while (path.ends_with('/')) path.remove_suffix(1);
  paths->services.emplace(path, service);
  paths->longest = std::max(paths->longest, path.size());
}

uint32_t RouteTable::Paths::find(std::string_view path) const {
  if (services.empty()) return kNone;
  // Try /a/b/c, then /a/b, then /a, then the root, which is the empty prefix.
  std::string_view prefix = path;
  if (prefix.size() > longest) {
    const size_t border = prefix.find('/', longest);
    // Cut to the last border at or before the longest prefix.
    prefix = prefix.substr(0, border == longest ? longest : prefix.rfind('/', longest));
    if (prefix.size() > longest) prefix = {};
  }
  for (;;) {
    const auto found = services.find(prefix);
    if (found != services.end()) return found->second;
    if (prefix.empty()) return kNone;
    const size_t border = prefix.rfind('/');
    prefix = border == std::string_view::npos ? std::string_view{} : prefix.substr(0, border);
  }
}

uint32_t RouteTable::find(std::string_view host, std::string_view path) const {
  if (only_ != kNone) return only_;
  if (!exact_.empty() || !suffix_.empty()) {
    char lowered[256];
    if (host.size() <= sizeof(lowered)) {
      std::transform(host.begin(), host.end(), lowered,
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
      host = std::string_view(lowered, host.size());
      if (host.ends_with('.')) host.remove_suffix(1);
      if (const auto found = exact_.find(host); found != exact_.end()) {
        if (const uint32_t service = found->second.find(path); service != kNone) return service;
      }
      for (size_t dot = host.find('.'); dot != std::string_view::npos; dot = host.find('.', dot + 1)) {
        const auto found = suffix_.find(host.substr(dot));
        if (found == suffix_.end()) continue;
        if (const uint32_t service = found->second.find(path); service != kNone) return service;
      }
    }
  }
  return any_.find(path);
}

}  // namespace sluice::balancer
