// DemoView: the demo's picture: who answered in the last moment, the split that
// was asked for, and what is happening.
#pragma once

#include <cstdint>
#include <string>

#include "admin/demo_traffic.h"

namespace sluice::admin {

struct DemoPicture {
  std::string scene;  // what the script is doing
  double split = 0;   // percent
  bool tripped = false;
  std::string news;           // the proxy's latest event
  DemoTraffic::Counts rates;  // since the last picture
  double seconds = 1;         // that they cover
};

class DemoView {
 public:
  // In place with colours on a terminal (colours only without NO_COLOR).
  DemoView(bool terminal, bool colours) : terminal_(terminal), colours_(colours) {}
  void draw(const DemoPicture& picture);
  // Leaves the picture standing and the cursor below it.
  void finish(const std::string& closing);

 private:
  std::string bar(const DemoPicture& picture) const;

  const bool terminal_;
  const bool colours_;
  int lines_ = 0;  // drawn last time
};

}  // namespace sluice::admin
