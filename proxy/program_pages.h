// Gives back what of the program only its start needed.
//
// Reading the configuration, relocating and resolving symbols touch most pages
// of the program and its libraries, which then count as resident for good. They
// are clean pages of files: given back, they stay in the page cache, and what
// runs on comes back by a minor fault of some pages at a time.
#pragma once

namespace sluice::proxy {

// Advises MADV_DONTNEED (madvise(2)) for each segment of each loaded object
// (dl_iterate_phdr(3)) that is never written, so never holds a page that only
// this process has. Advice that the kernel refuses is left at that. Any thread.
void give_back_program_pages();

}  // namespace sluice::proxy
