#include "run/pooling.h"

#include <utility>

namespace bitnet {

bool PooledStates::wants(int64_t position) const {
  switch (pooling_) {
    case Pooling::kCls:
      return position == 0;
    case Pooling::kLast:
      return position == n_tokens_ - 1;
    case Pooling::kNone:
    case Pooling::kMean:
      break;
  }
  return true;
}

void PooledStates::add(std::span<const float> states) {
  if (pooling_ != Pooling::kMean) {
    kept_.insert(kept_.end(), states.begin(), states.end());
    return;
  }
  const auto width = static_cast<size_t>(n_embd_);
  sum_.resize(width);
  for (size_t first = 0; first < states.size(); first += width)
    for (size_t i = 0; i < width; ++i) sum_[i] += static_cast<double>(states[first + i]);
}

std::vector<float> PooledStates::take() {
  for (const double sum : sum_)
    kept_.push_back(static_cast<float>(sum / static_cast<double>(n_tokens_)));
  return std::move(kept_);
}

}  // namespace bitnet
