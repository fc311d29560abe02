#include "proxy/privileges.h"

#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "conf/units.h"

namespace sluice::proxy {
namespace {

conf::Error failure(const std::string& what, int error) {
  return {conf::Error::Kind::io, conf::Error::Source::system, false, what + ": " + std::strerror(error)};
}

conf::Error no_such(const char* what, const std::string& name) {
  return {conf::Error::Kind::not_found, conf::Error::Source::operator_, false,
          std::string("no ") + what + " is called '" + name + "' here"};
}

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string name;  // for initgroups; empty where only a number is known
};

conf::Result<Identity> identity_of(const std::string& user, const std::string& group) {
  Identity identity;
  const std::optional<uint64_t> number = conf::parse_unsigned(user);
  const passwd* const entry = number ? getpwuid(static_cast<uid_t>(*number)) : getpwnam(user.c_str());
  if (entry != nullptr) {
    identity = {entry->pw_uid, entry->pw_gid, entry->pw_name};
  } else if (number && !group.empty()) {
    identity.uid = static_cast<uid_t>(*number);
  } else {
    return no_such("user", user);
  }
  if (group.empty()) return identity;
  if (const std::optional<uint64_t> gid = conf::parse_unsigned(group); gid) {
    identity.gid = static_cast<gid_t>(*gid);
  } else if (const struct group* const found = getgrnam(group.c_str()); found != nullptr) {
    identity.gid = found->gr_gid;
  } else {
    return no_such("group", group);
  }
  return identity;
}

}  // namespace

conf::Status gain_no_privileges() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failure("cannot set no_new_privs", errno);
  return conf::Done{};
}

conf::Status drop_privileges(const std::string& user, const std::string& group) {
  if (user.empty() || geteuid() != 0) return conf::Done{};
  const conf::Result<Identity> identity = identity_of(user, group);
  if (!identity.ok()) return identity.error();
  const gid_t only = identity->gid;
  const int grouped =
      identity->name.empty() ? setgroups(1, &only) : initgroups(identity->name.c_str(), identity->gid);
  if (grouped != 0 || setresgid(identity->gid, identity->gid, identity->gid) != 0 ||
      setresuid(identity->uid, identity->uid, identity->uid) != 0) {
    return failure("cannot become user '" + user + "'", errno);
  }
  // A way back would be as if nothing had been given up.
  if (identity->uid != 0 && setuid(0) == 0)
    return failure("user '" + user + "' can become root again", EPERM);
  return conf::Done{};
}

}  // namespace sluice::proxy
