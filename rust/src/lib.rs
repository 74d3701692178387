mod ffi; mod segmenter;
