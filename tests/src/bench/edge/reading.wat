;; A filter that has all headers of the request copied to it, and looks at none of them.
(module
  (import "env" "proxy_get_header_map_pairs"
    (func $headers (param $map i32) (param $data i32) (param $size i32) (result i32)))
  (memory (export "memory") 3)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 65536))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (call $headers (i32.const 0) (i32.const 0) (i32.const 4)) (then unreachable))
    (i32.const 0)))
