// The base of the addon's classes: JavaScript objects that hold a value of the core.
#pragma once

#include <napi.h>

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace addon {

// T has kName, the name of the class, and init(object, value), which takes the value and sets
// fields of the object.
template <class T>
class Wrapped : public Napi::ObjectWrap<T> {
 public:
  using Napi::ObjectWrap<T>::ObjectWrap;

  // Creates the JavaScript object for `value`.
  template <class Value>
  static Napi::Object make(Napi::Env env, Value value) {
    Napi::FunctionReference& constructor = constructors(env)[T::kName];
    Napi::Object object = constructor.New({});
    T::Unwrap(object)->init(object, std::move(value));
    return object;
  }

  // The object behind a JavaScript value; nullptr if it is of another class.
  static T* find(const Napi::Value& value) {
    if (!value.IsObject()) return nullptr;
    const auto object = value.As<Napi::Object>();
    const bool made_here = object.InstanceOf(constructors(value.Env())[T::kName].Value());
    return made_here ? T::Unwrap(object) : nullptr;
  }

  static void define(Napi::Env env,
                     const std::vector<Napi::ClassPropertyDescriptor<T>>& properties) {
    constructors(env)[T::kName] =
        Napi::Persistent(Napi::ObjectWrap<T>::DefineClass(env, T::kName, properties));
  }

 private:
  using Constructors = std::unordered_map<std::string, Napi::FunctionReference>;
  static Constructors& constructors(Napi::Env env) {
    Constructors* data = env.GetInstanceData<Constructors>();
    if (!data) env.SetInstanceData(data = new Constructors);
    return *data;
  }
};

}  // namespace addon
