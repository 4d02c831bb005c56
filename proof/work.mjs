// What node is used for, with so many megabytes, each result printed.
import { spawnSync } from 'node:child_process';
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { readFileSync, writeFileSync, createReadStream, promises } from 'node:fs';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { brotliCompressSync, brotliDecompressSync, constants, deflateSync, gzipSync, gunzipSync, inflateSync } from 'node:zlib';

const sum = (data) => createHash('sha256').update(data).digest('hex').slice(0, 24);

if (!isMainThread) {
  const { shared, index } = workerData;
  const words = new Int32Array(shared);
  for (let i = index; i < words.length; i += 4) words[i] = Math.imul(i, 2654435761);
  Atomics.add(words, 0, 1);
  const own = new Uint8Array(3 << 20).fill(index);
  parentPort.postMessage({ index, own: own.buffer }, [own.buffer]);
} else {
  const megabytes = Number(process.argv[2]);
  const size = megabytes << 20;
  const data = Buffer.alloc(size);
  let x = 1;
  for (let i = 0; i < size; i += 4) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    data.writeInt32LE(x & 0x0f0f0f0f, i);
  }
  console.log('data', sum(data));
  console.log('gzip', gunzipSync(gzipSync(data)).equals(data), sum(inflateSync(deflateSync(data, { level: 1 }))));
  const brotli = brotliCompressSync(data, { params: { [constants.BROTLI_PARAM_QUALITY]: 3 } });
  console.log('brotli', sum(brotli), brotliDecompressSync(brotli).equals(data));
  console.log('base64', sum(Buffer.from(data.toString('base64'), 'base64')), sum(data.toString('hex')));
  console.log('hmac', createHmac('sha512', 'key').update(data).digest('hex').slice(0, 24));
  console.log('pbkdf2', pbkdf2Sync('p', 's', 20000, 32, 'sha256').toString('hex'));

  const rows = Array.from({ length: megabytes * 20000 }, (_, i) => ({ id: i, name: `row ${i % 977}`, tags: [i % 3, i % 5] }));
  const text = JSON.stringify(rows);
  console.log('json', text.length, sum(text), JSON.parse(text).length);
  const map = new Map(rows.map((row) => [row.name, row]));
  console.log('map', map.size, rows.filter((row) => /7.*7/.test(row.name)).length);
  const floats = Float64Array.from({ length: size / 16 }, (_, i) => Math.sqrt(i * 7919 % 1000003));
  console.log('floats', sum(Buffer.from(floats.sort().buffer)));
  const parts = [];
  for (let i = 0; i < 40; i++) parts.push(Buffer.alloc((i + 1) * 30000, i));
  console.log('joined', sum(Buffer.concat(parts)));

  writeFileSync('data', data);
  console.log('read', readFileSync('data').equals(data));
  const file = await promises.open('data');
  const target = Buffer.alloc(size);
  const { bytesRead } = await file.read(target, 0, size, 0);
  await file.close();
  console.log('read into', bytesRead, target.equals(data));
  const hash = createHash('sha256');
  for await (const chunk of createReadStream('data', { highWaterMark: 2 << 20 })) hash.update(chunk);
  console.log('stream', hash.digest('hex').slice(0, 24));

  const shared = new SharedArrayBuffer(size);
  const answers = await Promise.all(
    [0, 1, 2, 3].map((index) => new Promise((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { shared, index } });
      worker.on('message', resolve).on('error', reject);
    })),
  );
  for (const { index, own } of answers) console.log('worker', index, sum(new Uint8Array(own)));
  console.log('shared', sum(new Uint8Array(shared).slice(4)));

  const child = spawnSync('sha256sum', { input: data, encoding: 'utf8' });
  console.log('child', child.status, child.stdout.trim());
  const cat = spawnSync('cat', { input: data, maxBuffer: 1 << 30 });
  console.log('cat', cat.stdout.equals(data));
}
