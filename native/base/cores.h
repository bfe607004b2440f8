// The cores of this machine, and where the threads of a pool run on them.
#pragma once

namespace bitnet {

// Cores this process may use, hyper-threads of one core counted once, the CPU quotas of containers
// respected. Of cores of different speed, those of the fastest kind on macOS and Windows. At least
// 1.
int physical_cores();

// Keeps the calling thread, one of a pool of n_threads, on a core of its own where the pool takes
// every core and the system would move it. 0 <= thread < n_threads.
void bind_to_core(int thread, int n_threads);

// The calling thread computes what somebody waits for: where the system saves power by running
// threads on slow cores, this one is not among them.
void prefer_fast_cores();

// Whether this program was built for another CPU than the machine's and is translated: by Rosetta
// on macOS, or by Windows on Arm.
bool is_translated();

}  // namespace bitnet
