// Where two threads meet: a bounded queue of values. Full means that push() says no; the caller drops
// by its own stated rule and counts.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

namespace defib::net {

template <typename T>
class Mailbox {
 public:
  explicit Mailbox(std::size_t items_max) : items_max_(items_max) {}

  // False where the box is full or closed.
  [[nodiscard]] bool push(T item) {
    {
      const std::lock_guard lock(mutex_);
      if (is_closed_ || items_.size() >= items_max_) return false;
      items_.push_back(std::move(item));
    }
    is_ready_.notify_one();
    return true;
  }

  // Waits for items and takes all of them, oldest first; empty once the box is closed and drained.
  std::vector<T> take_all() {
    std::unique_lock lock(mutex_);
    is_ready_.wait(lock, [this] { return is_closed_ || !items_.empty(); });
    return take_locked();
  }

  // The same without waiting, for a thread that waits elsewhere.
  std::vector<T> take_ready() {
    const std::lock_guard lock(mutex_);
    return take_locked();
  }

  void close() {
    {
      const std::lock_guard lock(mutex_);
      is_closed_ = true;
    }
    is_ready_.notify_all();
  }

  bool is_closed() const {
    const std::lock_guard lock(mutex_);
    return is_closed_;
  }

  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return items_.size();
  }

 private:
  std::vector<T> take_locked() {
    std::vector<T> taken(std::make_move_iterator(items_.begin()), std::make_move_iterator(items_.end()));
    items_.clear();
    return taken;
  }

  const std::size_t items_max_;
  mutable std::mutex mutex_;
  std::condition_variable is_ready_;
  std::deque<T> items_;
  bool is_closed_ = false;
};

}  // namespace defib::net
