// Reference-counted objects for the recording path: counts are not atomic, and memory comes from
// free lists of the thread, so that making and dropping a tensor costs some nanoseconds.
//
// Objects must be made, used and dropped on one thread at a time (a recorder is used that way).
#ifndef MOAI_CLIENT_CAPTURE_REF_H_
#define MOAI_CLIENT_CAPTURE_REF_H_

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace moai {

// Memory blocks of one size, kept for reuse until the thread ends.
template <size_t kBytes>
class BlockPool {
 public:
  static void* Allocate() {
    Block*& head = Head();
    if (head == nullptr) return ::operator new(kBytes);
    Block* block = head;
    head = block->next;
    return block;
  }
  static void Free(void* memory) {
    if (Closed()) {  // the thread is ending
      ::operator delete(memory);
      return;
    }
    static thread_local Cleaner cleaner;
    (void)cleaner;
    Block* block = static_cast<Block*>(memory);
    block->next = Head();
    Head() = block;
  }

 private:
  struct Block {
    Block* next;
  };
  static_assert(kBytes >= sizeof(Block));

  struct Cleaner {
    ~Cleaner() {
      Closed() = true;
      while (Head() != nullptr) {
        Block* block = Head();
        Head() = block->next;
        ::operator delete(block);
      }
    }
  };
  static Block*& Head() {
    static thread_local Block* head = nullptr;
    return head;
  }
  static bool& Closed() {
    static thread_local bool closed = false;
    return closed;
  }
};

// Base of counted objects: class X : public RefCounted<X>. Starts at zero references.
template <typename T>
class RefCounted {
 public:
  static void* operator new(size_t) { return BlockPool<sizeof(T)>::Allocate(); }
  static void operator delete(void* memory) { BlockPool<sizeof(T)>::Free(memory); }

  void AddReference() { ++references_; }
  void DropReference() {
    if (--references_ == 0) delete static_cast<T*>(this);
  }
  uint32_t references() const { return references_; }

 protected:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;
  ~RefCounted() = default;

 private:
  uint32_t references_ = 0;
};

// A counted pointer; may be null.
template <typename T>
class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) {}  // NOLINT: a null pointer is a null Ref
  explicit Ref(T* object) : object_(object) {
    if (object_ != nullptr) object_->AddReference();
  }
  Ref(const Ref& other) : Ref(other.object_) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) object_->DropReference();
  }

  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }
  friend bool operator==(const Ref& a, const Ref& b) { return a.object_ == b.object_; }

 private:
  T* object_ = nullptr;
};

}  // namespace moai

#endif  // MOAI_CLIENT_CAPTURE_REF_H_
