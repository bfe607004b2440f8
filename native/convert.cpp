#include "convert.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>

#include "error.h"
#include "file_map.h"
#include "file_writer.h"
#include "formats/dequantize.h"
#include "formats/quantize.h"
#include "formats/ternarize.h"
#include "gguf.h"
#include "threads.h"
#include "tokenizer/tokenizer.h"

namespace bitnet {
namespace {

constexpr int64_t kChunkElements = 1 << 18;  // what one thread works on at a time
constexpr int64_t kBandElements = int64_t{1}
                                  << 25;  // after so many, pages of the source are given back
constexpr float kMaxF16 = 65504;

uint64_t mix(uint64_t x) {  // splitmix64's finisher
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Sums of row hashes do not depend on the order of the rows in time. Four lanes: multiplications
// need not wait for each other.
uint64_t hash_row(const uint8_t* data, uint64_t n, int64_t row) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
  uint64_t lanes[4] = {mix(static_cast<uint64_t>(row) + kMultiplier), n, 1, 2};
  const auto absorb = [&](const uint8_t* p) {
    for (int i = 0; i < 4; ++i) {
      uint64_t word;
      std::memcpy(&word, p + 8 * i, 8);
      lanes[i] = (lanes[i] ^ word) * kMultiplier;
      lanes[i] ^= lanes[i] >> 29;
    }
  };
  for (; n >= 32; n -= 32, data += 32) absorb(data);
  uint8_t rest[32] = {};
  std::memcpy(rest, data, n);
  absorb(rest);
  return mix(lanes[0] + mix(lanes[1] + mix(lanes[2] + mix(lanes[3]))));
}

// The largest |x| as its bits, which order like the numbers; NaN lies above infinity.
constexpr uint32_t kInfinityBits = 0x7f800000;
uint32_t largest_bits(const float* x, int64_t n) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7fffffff);
  }
  return largest;
}

TernaryLayout out_layout(const ConvertJob& job, const std::vector<TlConfig>& configs) {
  return {job.out_type, job.rows, job.cols,
          find_tl_config(job.out_type, job.rows, job.cols, configs)};
}

// xorshift64*: the same numbers everywhere.
class Random {
 public:
  Random(uint64_t seed, int64_t row)
      : state_(mix(seed + mix(static_cast<uint64_t>(row) + 1)) | 1) {}
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1d;
  }

 private:
  uint64_t state_;
};

void random_codes(uint64_t seed, int64_t row, int64_t n, uint8_t* codes) {
  Random random(seed, row);
  for (int64_t i = 0; i < n; i += 8) {
    const uint64_t bits = random.next();
    for (int64_t j = 0; j < std::min<int64_t>(8, n - i); ++j) {
      codes[i + j] = static_cast<uint8_t>((bits >> (8 * j) & 255) * 3 >> 8);
    }
  }
}

// Close to normal, and exact on every machine: the sum of four uniform 16-bit numbers.
void random_floats(const ConvertSource& source, int64_t row, int64_t n, float* out) {
  constexpr float kUnit = 1 / 37837.22f;  // 65536 * sqrt(4 / 12)
  Random random(source.seed, row);
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t bits = random.next();
    const int64_t sum = static_cast<int64_t>((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                             (bits >> 32 & 0xffff) + (bits >> 48));
    out[i] = source.mean + source.deviation * (static_cast<float>(sum - 131070) * kUnit);
  }
}

// The rows of one source, in the order of the output.
class SourceRows {
 public:
  SourceRows(const ConvertJob& job, const FileMap* map, const std::vector<TlConfig>& configs)
      : job_(job), map_(map) {
    const ConvertSource& s = job.source;
    check_shape();
    if (s.kind == SourceKind::kRandom) return;
    const auto bytes = map->bytes();
    if (s.offset > bytes.size() || s.n_bytes > bytes.size() - s.offset) {
      fail(ErrorCode::kBadFile, "its data lies beyond the end of the file");
    }
    data_ = bytes.data() + s.offset;
    if (s.kind == SourceKind::kHfPacked) {
      if (job.rows % 4 != 0 || s.n_bytes != static_cast<uint64_t>(job.rows / 4 * job.cols))
        wrong_size();
      return;
    }
    if (tensor_bytes(s.type, static_cast<uint64_t>(job.cols), static_cast<uint64_t>(job.rows)) !=
        s.n_bytes)
      wrong_size();
    row_bytes_ = s.n_bytes / static_cast<uint64_t>(job.rows);
    if (is_ternary(s.type)) {
      ternary_ = {s.type, job.rows,  job.cols,
                  data_,  s.n_bytes, find_tl_config(s.type, job.rows, job.cols, configs),
                  s.i2s};
    } else if (!is_dequantizable(s.type) && (s.type != job.out_type || job.ternary)) {
      fail(ErrorCode::kUnsupported,
           std::string("its type ") + tensor_type_name(s.type) + " cannot be converted");
    }
  }

  bool holds_codes() const {
    const ConvertSource& s = job_.source;
    if (s.kind == SourceKind::kRandom) return job_.ternary;
    return s.kind == SourceKind::kHfPacked || is_ternary(s.type);
  }
  // Every row has a scale of its own in the file, so they must be looked at.
  bool may_differ_in_scale() const {
    return job_.source.kind == SourceKind::kTensor && has_row_scales(job_.source.type);
  }

  // holds_codes(): writes the codes of a row, returns the scale.
  float codes(int64_t row, uint8_t* out) const {
    const ConvertSource& s = job_.source;
    const int64_t at = source_row(row);
    if (s.kind == SourceKind::kRandom) {
      random_codes(s.seed, row, job_.cols, out);
      return s.factor;
    }
    if (s.kind == SourceKind::kHfPacked) {
      unpack_hf_row({data_, s.n_bytes, job_.rows / 4, job_.cols}, at, out);
      return s.factor;
    }
    return unpack_ternary_row(ternary_, at, out) * s.factor;
  }

  // Otherwise: the floats of a row, all finite.
  void floats(int64_t row, float* out) const {
    const ConvertSource& s = job_.source;
    if (s.kind == SourceKind::kRandom) return random_floats(s, row, job_.cols, out);
    if (!is_dequantizable(s.type)) return;  // only its bytes are copied
    dequantize_row(s.type, bytes(row), out, job_.cols);
    if (largest_bits(out, job_.cols) >= kInfinityBits) {
      fail(ErrorCode::kBadFile,
           "row " + std::to_string(source_row(row)) + " holds NaN or infinity");
    }
    if (job_.add != 0) {
      for (int64_t i = 0; i < job_.cols; ++i) out[i] += job_.add;
    }
  }

  // The stored bytes of a row; not of ternary types.
  const uint8_t* bytes(int64_t row) const {
    return data_ + static_cast<uint64_t>(source_row(row)) * row_bytes_;
  }
  uint64_t row_bytes() const { return row_bytes_; }

  // The pages of output rows [begin, end) are not needed any more. Ternary sources are small enough
  // to wait for the end.
  void release(int64_t begin, int64_t end) const {
    if (!map_ || holds_codes()) return;
    map_->dont_need(data_ + static_cast<uint64_t>(begin) * row_bytes_,
                    static_cast<uint64_t>(end - begin) * row_bytes_);
  }
  void release_all() const {
    if (map_) map_->dont_need(data_, job_.source.n_bytes);
  }
  void prefetch() const {
    if (map_) map_->will_need(data_, std::min<uint64_t>(job_.source.n_bytes, kBandElements));
  }

  [[noreturn]] void fail(ErrorCode code, const std::string& what) const {
    throw Error(code, "tensor " + job_.name + ": " + what);
  }

 private:
  void check_shape() const {
    constexpr int64_t kMax = int64_t{1} << 31;
    if (job_.rows < 1 || job_.cols < 1 || job_.rows > kMax || job_.cols > kMax)
      fail(ErrorCode::kBadFile, "impossible shape");
    if (job_.rope_heads > 0 && job_.rows % (2 * job_.rope_heads) != 0) {
      fail(ErrorCode::kBadFile, "its rows do not divide into heads of an even size");
    }
  }
  [[noreturn]] void wrong_size() const {
    fail(ErrorCode::kBadFile, "its bytes do not fit its shape");
  }

  // Hugging Face keeps the two halves of a head's rotary pairs apart; row 2i + s of a head is its
  // row s * d / 2 + i.
  int64_t source_row(int64_t row) const {
    if (job_.rope_heads == 0) return row;
    const int64_t d = job_.rows / job_.rope_heads, head = row / d, r = row % d;
    return head * d + (r % 2) * (d / 2) + r / 2;
  }

  const ConvertJob& job_;
  const FileMap* map_;
  const uint8_t* data_ = nullptr;
  uint64_t row_bytes_ = 0;
  TernaryTensor ternary_{};
};

// parallel_for over rows in chunks that are multiples of `granularity`, by bands, with exceptions
// and abort.
class RowLoop {
 public:
  RowLoop(ThreadPool& pool, ConvertProgress& progress) : pool_(pool), progress_(progress) {}

  // body(begin, end, thread); after_band(begin, end) on the calling thread.
  template <class Body, class AfterBand>
  void run(int64_t rows, int64_t cols, int64_t granularity, Body&& body, AfterBand&& after_band) {
    const int64_t chunk = chunk_rows(cols, granularity);
    const int64_t band = std::max(chunk, kBandElements / cols / chunk * chunk);
    for (int64_t begin = 0; begin < rows; begin += band) {
      const int64_t end = std::min(rows, begin + band);
      run_band(begin, end, chunk, body);
      after_band(begin, end);
    }
  }
  static int64_t chunk_rows(int64_t cols, int64_t granularity) {
    return std::max<int64_t>(1, kChunkElements / cols / granularity) * granularity;
  }
  int n_threads() const { return pool_.size(); }

 private:
  template <class Body>
  void run_band(int64_t begin, int64_t end, int64_t chunk, Body& body) {
    std::mutex mutex;
    std::exception_ptr failure;
    int64_t failed_at = end;  // the first one in the file is reported, whoever comes first in time
    pool_.parallel_for((end - begin + chunk - 1) / chunk, 1,
                       [&](int64_t first, int64_t last, int thread) {
                         for (int64_t i = first;
                              i < last && !progress_.abort.load(std::memory_order_relaxed); ++i) {
                           const int64_t from = begin + i * chunk;
                           try {
                             body(from, std::min(end, from + chunk), thread);
                           } catch (...) {
                             const std::lock_guard<std::mutex> lock(mutex);
                             if (from < failed_at) {
                               failed_at = from;
                               failure = std::current_exception();
                             }
                           }
                         }
                       });
    if (failure) std::rethrow_exception(failure);
    if (progress_.abort) throw Error(ErrorCode::kAborted, "the conversion was stopped");
  }

  ThreadPool& pool_;
  ConvertProgress& progress_;
};

// Sums over rows that threads add to; alone on its cache lines.
struct alignas(64) Tally {
  uint64_t hash = 0;
  int64_t counts[4] = {};  // by code; [3]: impossible codes
};

void tally_codes(Tally& tally, const uint8_t* codes, int64_t cols, int64_t row) {
  tally.hash += hash_row(codes, static_cast<uint64_t>(cols), row);
  int64_t ones = 0, twos = 0;
  for (int64_t i = 0; i < cols; ++i) {
    ones += codes[i] == 1;
    twos += codes[i] == 2;
  }
  tally.counts[1] += ones;
  tally.counts[2] += twos;
  tally.counts[0] += cols - ones - twos;
}

Tally total(const std::vector<Tally>& tallies) {
  Tally sum;
  for (const Tally& t : tallies) {
    sum.hash += t.hash;
    for (int i = 0; i < 4; ++i) sum.counts[i] += t.counts[i];
  }
  return sum;
}

// One tensor on its way.
class Conversion {
 public:
  Conversion(const ConvertJob& job, const SourceRows& source, const std::vector<TlConfig>& configs,
             RowLoop& loop, FileWriter& file, ConvertProgress& progress)
      : job_(job),
        source_(source),
        layout_(out_layout(job, configs)),
        loop_(loop),
        file_(file),
        progress_(progress),
        out_bytes_(planned_bytes(job, configs)),
        tallies_(static_cast<size_t>(loop.n_threads())) {}

  ConvertResult run() {
    if (source_.holds_codes()) {
      rule_ = {common_scale(), true};
    } else if (job_.ternary) {
      measure();
      rule_ = choose_rule();
      if (!rule_.already_ternary && !job_.declared) refuse();
    }
    if (is_ternary(job_.out_type)) {
      write_ternary();
    } else {
      write_floats();
    }
    source_.release_all();
    return result();
  }

 private:
  bool to_codes() const { return job_.ternary || source_.holds_codes(); }

  // The one scale of a source that holds codes.
  float common_scale() {
    std::vector<uint8_t> first(static_cast<size_t>(job_.cols));
    if (!source_.may_differ_in_scale()) return source_.codes(0, first.data());
    std::vector<float> scales(static_cast<size_t>(job_.rows));
    auto scratch = make_scratch(job_.cols);
    loop_.run(
        job_.rows, job_.cols, 1,
        [&](int64_t begin, int64_t end, int thread) {
          for (int64_t r = begin; r < end; ++r)
            scales[static_cast<size_t>(r)] = source_.codes(r, scratch[thread].data());
        },
        [](int64_t, int64_t) {});
    float scale = 0;  // a row of zeros may have no scale
    for (const float s : scales) {
      if (s == 0 || s == scale) continue;
      if (scale != 0) {
        source_.fail(ErrorCode::kUnsupported,
                     "its rows have different scales, and other types hold one for the matrix");
      }
      scale = s;
    }
    return scale;
  }

  void measure() {
    magnitudes_.resize(static_cast<size_t>(job_.rows));
    each_float_row([&](int64_t row, float* x, int) {
      magnitudes_[static_cast<size_t>(row)] = measure_row(x, job_.cols);
    });
  }

  TernaryRule choose_rule() const {
    try {
      return choose_ternary_rule(magnitudes_, job_.cols);
    } catch (const Error& error) {
      source_.fail(error.code, error.what());
    }
  }

  [[noreturn]] void refuse() {
    errors_.resize(static_cast<size_t>(job_.rows));
    auto codes = make_scratch(job_.cols);
    each_float_row([&](int64_t row, float* x, int thread) {
      errors_[static_cast<size_t>(row)] = ternarize_row(rule_, x, job_.cols, codes[thread].data());
    });
    const double error = ternary_stats(rule_, magnitudes_, errors_).relative_error;
    source_.fail(ErrorCode::kUnsupported,
                 "its weights are not ternary, and nothing in the source says that they should be: "
                 "rounding them to -1, 0, +1 would be " +
                     std::to_string(static_cast<int>(std::lround(error * 100))) + " % off");
  }

  template <class Row>
  void each_float_row(Row&& body) {
    std::vector<std::vector<float>> scratch(tallies_.size(),
                                            std::vector<float>(static_cast<size_t>(job_.cols)));
    loop_.run(
        job_.rows, job_.cols, 1,
        [&](int64_t begin, int64_t end, int thread) {
          for (int64_t r = begin; r < end; ++r) {
            source_.floats(r, scratch[thread].data());
            body(r, scratch[thread].data(), thread);
          }
        },
        [&](int64_t begin, int64_t end) { source_.release(begin, end); });
  }

  // The codes of a row, counted.
  void read_codes(int64_t row, float* x, uint8_t* codes, int thread) {
    if (source_.holds_codes()) {
      source_.codes(row, codes);
    } else {
      source_.floats(row, x);
      errors_[static_cast<size_t>(row)] = ternarize_row(rule_, x, job_.cols, codes);
    }
    tally_codes(tallies_[thread], codes, job_.cols, row);
  }

  void write_ternary() {
    const int64_t granularity = ternary_row_granularity(layout_);
    const int64_t chunk = std::min(job_.rows, RowLoop::chunk_rows(job_.cols, granularity));
    std::vector<uint8_t> packed(out_bytes_);
    auto codes = make_scratch(chunk * job_.cols);
    std::vector<std::vector<float>> x(tallies_.size(),
                                      std::vector<float>(static_cast<size_t>(job_.cols)));
    prepare_errors();
    loop_.run(
        job_.rows, job_.cols, granularity,
        [&](int64_t begin, int64_t end, int thread) {
          for (int64_t r = begin; r < end; ++r) {
            read_codes(r, x[thread].data(), codes[thread].data() + (r - begin) * job_.cols, thread);
          }
          pack_ternary_rows(layout_, begin, end, codes[thread].data(), rule_.scale, packed.data());
        },
        [&](int64_t begin, int64_t end) { source_.release(begin, end); });
    write_ternary_tail(layout_, rule_.scale, packed.data());
    file_.write(job_.out_offset, packed.data(), packed.size());
    progress_.done_bytes += packed.size();
  }

  void write_floats() {
    const uint64_t row_bytes = out_bytes_ / static_cast<uint64_t>(job_.rows);
    const int64_t chunk = std::min(job_.rows, RowLoop::chunk_rows(job_.cols, 1));
    auto out = make_scratch(chunk * static_cast<int64_t>(row_bytes));
    auto codes = make_scratch(to_codes() ? job_.cols : 0);
    std::vector<std::vector<float>> x(tallies_.size(),
                                      std::vector<float>(static_cast<size_t>(job_.cols)));
    prepare_errors();
    loop_.run(
        job_.rows, job_.cols, 1,
        [&](int64_t begin, int64_t end, int thread) {
          for (int64_t r = begin; r < end; ++r) {
            uint8_t* row = out[thread].data() + static_cast<uint64_t>(r - begin) * row_bytes;
            write_float_row(r, x[thread].data(), codes[thread].data(), row, thread);
            byte_hash_ += hash_row(row, row_bytes, r);
          }
          const uint64_t n = static_cast<uint64_t>(end - begin) * row_bytes;
          file_.write(job_.out_offset + static_cast<uint64_t>(begin) * row_bytes,
                      out[thread].data(), n);
          progress_.done_bytes += n;
        },
        [&](int64_t begin, int64_t end) { source_.release(begin, end); });
  }

  void write_float_row(int64_t row, float* x, uint8_t* codes, uint8_t* out, int thread) {
    if (to_codes()) {
      read_codes(row, x, codes, thread);
      for (int64_t i = 0; i < job_.cols; ++i) x[i] = static_cast<float>(codes[i] - 1) * rule_.scale;
    } else {
      source_.floats(row, x);
      if (job_.out_type == job_.source.type && job_.source.kind == SourceKind::kTensor &&
          job_.add == 0) {
        std::memcpy(out, source_.bytes(row),
                    source_.row_bytes());  // block types are not rounded twice
        return;
      }
    }
    if (job_.out_type == TensorType::kF16 &&
        largest_bits(x, job_.cols) > std::bit_cast<uint32_t>(kMaxF16)) {
      source_.fail(ErrorCode::kUnsupported,
                   "row " + std::to_string(row) + " holds a value beyond the range of F16");
    }
    quantize_row(job_.out_type, x, out, job_.cols);
  }

  void prepare_errors() {
    if (!source_.holds_codes() && job_.ternary) errors_.resize(static_cast<size_t>(job_.rows));
  }

  std::vector<std::vector<uint8_t>> make_scratch(int64_t n) const {
    return std::vector<std::vector<uint8_t>>(tallies_.size(),
                                             std::vector<uint8_t>(static_cast<size_t>(n)));
  }

  ConvertResult result() const {
    ConvertResult out;
    const Tally sum = total(tallies_);
    out.hash = is_ternary(job_.out_type) ? sum.hash : byte_hash_.load();
    out.ternary = to_codes();
    if (!out.ternary) return out;
    out.scale = stored_scale(job_.out_type, rule_.scale);
    out.n_negative = sum.counts[0];
    out.n_zero = sum.counts[1];
    out.n_positive = sum.counts[2];
    if (!errors_.empty())
      out.relative_error = ternary_stats(rule_, magnitudes_, errors_).relative_error;
    out.rounded = !rule_.already_ternary;
    return out;
  }

  const ConvertJob& job_;
  const SourceRows& source_;
  const TernaryLayout layout_;
  RowLoop& loop_;
  FileWriter& file_;
  ConvertProgress& progress_;
  const uint64_t out_bytes_;
  TernaryRule rule_{};
  std::vector<RowMagnitude> magnitudes_;
  std::vector<RowError> errors_;
  std::vector<Tally> tallies_;
  std::atomic<uint64_t> byte_hash_{0};
};

// Reads a finished file back and compares it with what was meant.
class Verification {
 public:
  Verification(const ConvertPlan& plan, RowLoop& loop, ConvertProgress& progress)
      : plan_(plan), gguf_(Gguf::open(plan.outfile)), loop_(loop), progress_(progress) {}

  void check_tokenizer() const { const Tokenizer tokenizer(gguf_, {}); }

  void check(size_t i, const ConvertResult& expected) {
    const ConvertJob& job = plan_.jobs[i];
    const GgufTensor* tensor = gguf_.find_tensor(job.name);
    if (!tensor || tensor->type != job.out_type ||
        tensor->cols() * tensor->rows() != elements(job) ||
        gguf_.offset_of(*tensor) != job.out_offset) {
      fail(job, "the header does not describe it");
    }
    const uint64_t hash = is_ternary(job.out_type) ? hash_codes(job, *tensor, expected.scale)
                                                   : hash_bytes(job, *tensor);
    if (hash != expected.hash) fail(job, "it does not hold the source's weights");
    gguf_.map()->dont_need(tensor->data, tensor->n_bytes);
    progress_.done_bytes += tensor->n_bytes;
  }

 private:
  static uint64_t elements(const ConvertJob& job) {
    return static_cast<uint64_t>(job.rows) * static_cast<uint64_t>(job.cols);
  }

  [[noreturn]] void fail(const ConvertJob& job, const std::string& what) const {
    throw Error(ErrorCode::kBadFile,
                plan_.outfile + ": tensor " + job.name + " was written wrongly: " + what);
  }

  uint64_t hash_codes(const ConvertJob& job, const GgufTensor& tensor, float scale) {
    const TernaryTensor packed{
        tensor.type,    job.rows,
        job.cols,       tensor.data,
        tensor.n_bytes, find_tl_config(tensor.type, job.rows, job.cols, plan_.tl_configs)};
    std::vector<Tally> tallies(static_cast<size_t>(loop_.n_threads()));
    std::vector<std::vector<uint8_t>> codes(tallies.size(),
                                            std::vector<uint8_t>(static_cast<size_t>(job.cols)));
    loop_.run(
        job.rows, job.cols, 1,
        [&](int64_t begin, int64_t end, int thread) {
          for (int64_t r = begin; r < end; ++r) {
            const float found = unpack_ternary_row(packed, r, codes[thread].data());
            // A row of zeros may be stored without its scale.
            if (found != scale && !(found == 0 && has_row_scales(tensor.type)))
              fail(job, "its scale is " + std::to_string(found));
            tallies[thread].hash +=
                hash_row(codes[thread].data(), static_cast<uint64_t>(job.cols), r);
          }
        },
        [](int64_t, int64_t) {});
    return total(tallies).hash;
  }

  uint64_t hash_bytes(const ConvertJob& job, const GgufTensor& tensor) {
    const uint64_t row_bytes = tensor.n_bytes / static_cast<uint64_t>(job.rows);
    std::atomic<uint64_t> hash{0};
    loop_.run(
        job.rows, job.cols, 1,
        [&](int64_t begin, int64_t end, int) {
          for (int64_t r = begin; r < end; ++r)
            hash += hash_row(tensor.data + static_cast<uint64_t>(r) * row_bytes, row_bytes, r);
        },
        [&](int64_t begin, int64_t end) {
          gguf_.map()->dont_need(tensor.data + static_cast<uint64_t>(begin) * row_bytes,
                                 static_cast<uint64_t>(end - begin) * row_bytes);
        });
    return hash;
  }

  const ConvertPlan& plan_;
  const Gguf gguf_;
  RowLoop& loop_;
  ConvertProgress& progress_;
};

}  // namespace

uint64_t planned_bytes(const ConvertJob& job, const std::vector<TlConfig>& tl_configs) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::kUnsupported, "tensor " + job.name + ": " + what);
  };
  const std::string shape = std::to_string(job.rows) + " x " + std::to_string(job.cols);
  if (job.rows < 1 || job.cols < 1) fail("impossible shape " + shape);
  try {
    if (is_ternary(job.out_type)) check_ternary_layout(out_layout(job, tl_configs));
  } catch (const Error& error) {
    throw Error(error.code, "tensor " + job.name + ": " + error.what());
  }
  if (!is_ternary(job.out_type) && !is_quantizable(job.out_type) &&
      job.out_type != job.source.type) {
    fail(std::string(tensor_type_name(job.out_type)) + " cannot be written");
  }
  const auto bytes =
      tensor_bytes(job.out_type, static_cast<uint64_t>(job.cols), static_cast<uint64_t>(job.rows));
  if (!bytes)
    fail(std::string(tensor_type_name(job.out_type)) + " cannot hold a matrix of " + shape);
  return *bytes;
}

std::vector<ConvertResult> convert(const ConvertPlan& plan, ConvertProgress& progress) {
  std::vector<FileMap> maps;
  for (const std::string& path : plan.files) maps.emplace_back(path);
  ThreadPool pool(plan.n_threads > 0 ? plan.n_threads : physical_cores());
  RowLoop loop(pool, progress);

  std::vector<SourceRows> sources;
  sources.reserve(plan.jobs.size());
  for (const ConvertJob& job : plan.jobs) {
    const bool random = job.source.kind == SourceKind::kRandom;
    if (!random && job.source.file >= maps.size())
      throw Error(ErrorCode::kUsage, "tensor " + job.name + ": no such source file");
    sources.emplace_back(job, random ? nullptr : &maps[job.source.file], plan.tl_configs);
  }

  std::vector<ConvertResult> results;
  {
    FileWriter file(plan.outfile);
    file.resize(plan.out_bytes);
    for (size_t i = 0; i < plan.jobs.size(); ++i) {
      progress.tensor = i;
      if (i + 1 < sources.size()) sources[i + 1].prefetch();
      try {
        results.push_back(
            Conversion(plan.jobs[i], sources[i], plan.tl_configs, loop, file, progress).run());
      } catch (const Error& error) {
        const std::string what = error.what();
        if (error.code == ErrorCode::kAborted || what.find(plan.jobs[i].name) != std::string::npos)
          throw;
        throw Error(error.code, "tensor " + plan.jobs[i].name + ": " + what);
      }
    }
    file.flush();
  }
  Verification verification(plan, loop, progress);
  if (plan.check_tokenizer) verification.check_tokenizer();
  for (size_t i = 0; i < plan.jobs.size(); ++i) {
    progress.tensor = i;
    verification.check(i, results[i]);
  }
  return results;
}

}  // namespace bitnet
