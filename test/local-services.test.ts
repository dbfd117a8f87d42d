import { afterAll, expect, it } from 'vitest'
import { sharedServices, startBroker, stopServices } from './support/services.ts'
afterAll(stopServices)
it('x', async () => {
  console.log(sharedServices())
  const t = performance.now()
  const b = await startBroker({restart: true})
  console.log(performance.now() - t)
  b.part.kill('SIGKILL')
  while (b.part.ready) await new Promise(r => setTimeout(r, 10))
  while (!b.part.ready) await new Promise(r => setTimeout(r, 10))
  console.log(performance.now() - t)
  await b.part.stop()
  console.log(b.events)
  expect(b.part.restarts).toBe(1)
})
