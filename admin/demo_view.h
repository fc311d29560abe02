// DemoView: the demo's picture: who answered in the last moment, the split that
// was asked for, and what is happening.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

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

// The picture in lines that no terminal of `columns` has to break, always the
// same number of them. Colours take no columns.
std::vector<std::string> demo_lines(const DemoPicture& picture, size_t columns, bool colours);

class DemoView {
 public:
  // In place with colours on a terminal (colours only without NO_COLOR), else a
  // line for each picture.
  DemoView(bool terminal, bool colours) : terminal_(terminal), colours_(colours) {}
  void draw(const DemoPicture& picture);
  // Leaves the picture standing and the cursor below it.
  void finish(const std::string& closing);

 private:
  const bool terminal_;
  const bool colours_;
  size_t lines_ = 0;  // drawn last time
};

}  // namespace sluice::admin
