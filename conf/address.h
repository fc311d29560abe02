// Text to and from addresses and networks; see conf::Address for the forms. URLs
// are only checked.
//
// IP addresses are brought to their canonical text (RFC 5952), DNS names to
// lower case, so that equal addresses compare equal. Nothing is looked up. An
// Error's detail says what is wrong and what to write instead. Pure functions;
// any thread.
#pragma once

#include <string>
#include <string_view>

#include "conf/config.h"
#include "conf/result.h"

namespace sluice::conf {

// The longest path that fits sockaddr_un, without its terminating zero.
inline constexpr size_t kMaxSocketPath = 107;

// What is listened on has no name, and is not advised to have one.
enum class AddressUse : uint8_t { connect, listen };

// Port 0 is accepted: a listener takes any free port by it.
Result<Address> parse_address(std::string_view text, AddressUse use = AddressUse::connect);

// Whether it is a URL that can be called as it stands: http or https, a host, a
// port from 1 to 65535 if there is one, no user and no fragment (RFC 3986, 3).
Status check_url(std::string_view text);

// "10.0.0.0/8", "fd00::/8", or one address. Bits behind the prefix must be 0.
Result<Network> parse_network(std::string_view text);
std::string to_string(const Network& network);

// Labels of letters, digits, "-" and "_" joined by single dots, 253 bytes at
// most (RFC 1035, 2.3.4; "_" is common in cluster names).
bool is_host_name(std::string_view text);

}  // namespace sluice::conf
