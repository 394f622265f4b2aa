// Playing within the browsers' rules: sound only after a touch where they demand one, and a screen that stays on.

/**
 * Play with sound where the browser allows it, else without, until the first click, touch or key.
 *
 * @param {HTMLVideoElement} video
 * @param {(blocked: boolean) => void} onSound told whether the sound waits for a touch
 */
export async function playAloud(video, onSound) {
  if (navigator.userActivation?.hasBeenActive) video.muted = false;
  try {
    await video.play();
    return;
  } catch (error) {
    // AbortError: a newer stream came in the meantime, and its own call plays it.
    if (error.name !== "NotAllowedError") return;
  }
  video.muted = true;
  onSound(true);
  const gestures = ["pointerdown", "touchend", "keydown"];
  const unmute = () => {
    for (const gesture of gestures) removeEventListener(gesture, unmute);
    video.muted = false;
    onSound(false);
    video.play().catch(() => {});
  };
  for (const gesture of gestures) addEventListener(gesture, unmute);
  await video.play().catch(() => {});
}

/** Keep the screen on until the returned function is called, where the browser can. */
export function keepScreenOn() {
  let lock = null;
  let wanted = true;
  const acquire = async () => {
    // The browser drops the lock of a hidden page, and refuses one when the battery is low.
    if (!wanted || document.visibilityState !== "visible" || !navigator.wakeLock) return;
    lock = await navigator.wakeLock.request("screen").catch(() => null);
    if (!wanted) lock?.release();
  };
  document.addEventListener("visibilitychange", acquire);
  acquire();
  return () => {
    wanted = false;
    document.removeEventListener("visibilitychange", acquire);
    lock?.release();
  };
}

/**
 * Keep a video's data-shape true, "square" or "other": faces that are square fill their frame, footage is shown whole.
 *
 * @param {HTMLVideoElement} video
 */
export function followShape(video) {
  video.addEventListener("resize", () => {
    video.dataset.shape = video.videoWidth === video.videoHeight ? "square" : "other";
  });
}
