#include "base/tuning.h"

#include <string>

#include "base/error.h"

namespace bitnet {

void check_tuning(const Tuning& tuning) {
  for (const TuningParameter& p : kTuningParameters) {
    const int64_t value = tuning.*p.field;
    if (value >= p.least && value <= p.most && value % p.step == 0) continue;
    const std::string multiple =
        p.step == 1 ? "" : ", a multiple of " + std::to_string(p.step) + ",";
    throw Error(ErrorCode::kUsage, std::string(p.name) + " must be a whole number" + multiple +
                                       " from " + std::to_string(p.least) + " to " +
                                       std::to_string(p.most));
  }
}

}  // namespace bitnet
