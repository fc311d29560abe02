// The dashboard's files, as they were when the program was built.
//
// The page, its style sheet and its scripts lie in admin/dashboard/; the charts
// are drawn by uPlot, which `./dev` fetches and CMake looks for
// (cmake/Dashboard.cmake). In a build without it /uplot.js is empty, and the page
// says so in place of charts.
//
// Immutable; any thread.
#pragma once

#include <span>
#include <string_view>

namespace sluice::admin {

struct DashboardFile {
  std::string_view path;  // as it is asked for
  std::string_view content_type;
  std::string_view content;
};

std::span<const DashboardFile> dashboard_files();

}  // namespace sluice::admin
