package tinkkms
