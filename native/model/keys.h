// The metadata keys of an architecture: what a model file may say about its graph. A key that is in
// no row here changes the graph in a way that nobody here knows, so its file is not run.
#pragma once

#include "gguf/gguf.h"
#include "model/config.h"

namespace bitnet {

// Refuses a file that holds a key of this family which is unknown, or known with a value that the
// passes do not compute. What is only written may be of a family whose passes are still to come,
// so its known keys may have any value. Throws kUnsupported, naming the key.
void check_keys(const Gguf& gguf, const Family& family);

}  // namespace bitnet
